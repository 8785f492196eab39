/**
 * `make demo`: a one-host cluster in a temporary folder, one real session with OpenSSH's client that does what
 * a terminal recording misses, and the evidence for it out of the audit log.
 */
import { createServer } from 'node:net';
import process from 'node:process';
import Table from 'cli-table3';
import pc from 'picocolors';
import { type Event, freePort, OneHost, until } from '../e2e/one-host.ts';

const say = (text = '') => process.stdout.write(`${text}\n`);
const step = (text: string) => say(`\n${pc.bold(pc.cyan(`▌ ${text}`))}`);
const started = Date.now();

/** What is typed into the terminal, line by line. */
function script(openPort: number, closedPort: number): string[] {
  const hidden = Buffer.from('cat /etc/hostname > /dev/null\n').toString('base64');
  return [
    `echo ${hidden} | base64 --decode | sh`,
    "printf '#!/bin/sh\\nid -un\\nuname -s\\n' > /tmp/sallyport-demo.sh",
    'sh /tmp/sallyport-demo.sh; rm /tmp/sallyport-demo.sh',
    'stty -echo',
    'head -c 16 /etc/passwd > /dev/null',
    'stty echo',
    `bash -c 'exec 3<>/dev/tcp/127.0.0.1/${closedPort}'`,
    `bash -c 'exec 3<>/dev/tcp/127.0.0.1/${openPort}; echo hello >&3'`,
    'exit',
  ];
}

const argvOf = (event: Event) => (event['argv'] as string[] | undefined) ?? [];

/** As it is typed to a shell. */
const quoted = (arg: string) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`);

interface Row {
  readonly at: string;
  readonly kind: string;
  readonly pid: string;
  readonly what: string;
  readonly result: string;
  /** What a reader of the terminal could have seen of it. */
  readonly asTyped: string;
}

function rowOf(event: Event): Row | undefined {
  const at = String(event['ktime'] ?? event.time).slice(11, 23);
  const pid = String(event['pid'] ?? '');
  if (event.event === 'session.command') {
    const what = [String(event['path']), ...argvOf(event).map(quoted)].join(' ');
    const asTyped = what.slice(what.lastIndexOf('/', what.indexOf(' ') >>> 0) + 1);
    return { at, kind: 'command', pid, what, result: String(event['return_code']), asTyped };
  }
  if (event.event === 'session.network') {
    const to = event['unix_path'] ?? `${event['dst_addr']}:${event['dst_port']}`;
    // "refused" says what ECONNREFUSED would.
    const error = event['outcome'] === 'failed' ? ` ${event['error']}` : '';
    const what = `${event['program']} → ${to}`;
    return { at, kind: 'network', pid, what, result: `${event['outcome']}${error}`, asTyped: String(to) };
  }
  return undefined;
}

/** `screen` is what the terminal showed: what is not in it stands out. */
function table(events: readonly Event[], screen: string): string {
  const rows = events.map(rowOf).filter((row) => row !== undefined);
  const drawn = new Table({
    head: ['time (kernel)', 'event', 'pid', 'what', 'result'].map((text) => pc.bold(text)),
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    colWidths: [15, 9, 8, 55, 15],
    wordWrap: true,
  });
  for (const [index, row] of rows.entries()) {
    const again = (other: Row | undefined) => other?.what === row.what && other.pid === row.pid;
    if (again(rows[index - 1])) continue;
    const same = rows.slice(index).findIndex((other) => !again(other));
    const times = same < 0 ? rows.length - index : same;
    const what = printable(times > 1 ? `${row.what} (${times}×)` : row.what);
    const unseen = row.kind === 'command' && !screen.includes(row.asTyped);
    drawn.push([row.at, row.kind, row.pid, unseen ? pc.yellow(what) : what, row.result]);
  }
  return drawn.toString();
}

/** Event text is the user's: nothing of it may steer the terminal. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

OneHost.stopOnSignal(() => void say('\nStopping.'));
step('A one-host cluster in a temporary folder');
const cluster = await OneHost.start();
try {
  say(`  teleport start -c ${cluster.configPath}    (node on 127.0.0.1:${cluster.port})`);
  await cluster.identity('alice');
  say('  tctl users add alice --logins=root');
  say('  tctl auth sign --user=alice');

  const listener = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1');
  await new Promise((done) => listener.once('listening', done));
  const address = listener.address();
  const openPort = typeof address === 'object' && address !== null ? address.port : 0;

  step('alice logs in with OpenSSH. This is all the terminal showed:');
  const shown = await cluster.type('alice', script(openPort, await freePort()));
  const screen = shown.slice(shown.search(/^demo\$ /m));
  for (const line of screen.replaceAll('\r', '').trimEnd().split('\n')) say(pc.dim(`  ${printable(line)}`));
  listener.close();

  const events = await cluster.lastSession();
  const commands = events.filter((event) => event.event === 'session.command');
  step(`This is what the kernel saw. ${pc.yellow('Yellow')} was never on the terminal:`);
  // The account's own start-up files run before the shell that was typed into, and some are long.
  const typed = events.findIndex(
    (event) => event.event === 'session.command' && argvOf(event)[0] === '--noprofile',
  );
  const before = events.slice(0, Math.max(typed, 0)).filter((event) => rowOf(event) !== undefined).length;
  say(table(events.slice(Math.max(typed, 0)), `bash --noprofile --norc -i\n${screen}`));
  if (before > 0)
    say(pc.dim(`  and ${before} more before them: the log-in shell and the account's start-up files`));

  step('The same as JSON lines, as in the audit log (the command inside the base64, the connections)');
  const picked = [
    commands.find((event) => argvOf(event).includes('/etc/hostname')),
    commands.find((event) => argvOf(event).includes('/etc/passwd')),
    ...events.filter((event) => event.event === 'session.network' && event['protocol'] === 'tcp'),
  ];
  for (const event of picked) if (event !== undefined) say(JSON.stringify(event));

  const end = await until('session.end', () => events.find((event) => event.event === 'session.end'));
  step('And the proof that nothing is missing');
  say(JSON.stringify(end));
  const totals = (end['enhanced_totals'] ?? {}) as Record<
    string,
    { emitted: number; recorded: number; lost: number }
  >;
  for (const [kind, { emitted, recorded, lost }] of Object.entries(totals)) {
    say(`  ${kind.padEnd(8)} emitted by the kernel ${emitted}, recorded ${recorded}, lost ${lost}`);
  }

  const missing = [
    ['the command hidden in base64', picked[0]],
    ['the command typed with echo off', picked[1]],
    ["the script's inner command", commands.find((event) => String(event['path']).endsWith('/uname'))],
    [
      'the refused connection',
      events.find((e) => e.event === 'session.network' && e['outcome'] === 'refused'),
    ],
    [
      'the established connection',
      events.find((e) => e.event === 'session.network' && e['outcome'] === 'established'),
    ],
    ['enhanced_recording: true', end['enhanced_recording'] === true ? end : undefined],
  ].filter(([, event]) => event === undefined);
  if (missing.length > 0) {
    say(pc.red(`\nNot seen: ${missing.map(([what]) => what).join(', ')}`));
    process.exitCode = 1;
  } else {
    say(
      `\n${pc.green('Everything above was seen by the kernel, whatever the terminal showed.')} ${((Date.now() - started) / 1000).toFixed(1)} s`,
    );
  }
} finally {
  await cluster.stop();
}
