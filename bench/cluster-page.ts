/** The section of the benchmark page on sessions and commands. */
import type { CommandFigures } from './commands.ts';
import { type Peer, peers } from './peers.ts';
import type { SessionFigures } from './sessions.ts';
import { median, quantile } from './statistics.ts';

export interface ClusterResults {
  readonly machine: string;
  readonly commands: CommandFigures;
  readonly sessions: SessionFigures;
}

const heading = '## Sessions and commands';

/** In place of the section of an earlier run, else behind everything. */
export function withSection(page: string, section: string): string {
  const at = page.indexOf(heading);
  return `${(at < 0 ? page : page.slice(0, at)).trimEnd()}\n\n${section}`;
}

const ms = (value: number) => `${value.toFixed(0)} ms`;
const kib = (bytes: number) => `${(bytes / 1024).toFixed(0)} KiB`;

interface Row {
  readonly what: string;
  readonly of: Readonly<Record<Peer, number>>;
  readonly unit: (value: number) => string;
  /** Absent: told, not judged. */
  readonly target?: { readonly text: string; met(ours: number, theirs: number): boolean };
}

function rowsOf({ single, rate, crowded, memory, serverCpu, clientCpu }: SessionFigures): Row[] {
  const each = (figure: (peer: Peer) => number) => ({ sallyport: figure('sallyport'), sshd: figure('sshd') });
  return [
    {
      what: 'P8 `ssh host true`, median',
      of: each((peer) => median(single[peer])),
      unit: ms,
      target: { text: '≤ sshd', met: (ours, theirs) => ours <= theirs },
    },
    { what: 'P8, 99th percentile', of: each((peer) => quantile(single[peer], 0.99)), unit: ms },
    {
      what: 'P9 sessions a second, 16 at once',
      of: each((peer) => median(rate[peer])),
      unit: (value) => value.toFixed(1),
      target: { text: '≥ 3 × sshd', met: (ours, theirs) => ours >= 3 * theirs },
    },
    { what: 'P9, wall time of one of them, median', of: each((peer) => median(crowded[peer])), unit: ms },
    { what: 'P9, CPU of the server a session, recording included', of: serverCpu, unit: ms },
    { what: 'P9, CPU of the client a session, on the same CPUs', of: clientCpu, unit: ms },
    {
      what: 'P10 memory (PSS) a live idle session',
      of: memory,
      unit: kib,
      target: { text: '≤ 1024 KiB', met: (ours) => ours <= 2 ** 20 },
    },
  ];
}

function sessionTable(figures: SessionFigures): string {
  const lines = rowsOf(figures).map(({ what, of, unit, target }) => {
    const [ours, theirs] = peers.map((peer) => of[peer]) as [number, number];
    const verdict = target ? `${target.text}: **${target.met(ours, theirs) ? 'met' : 'missed'}**` : '';
    return `| ${what} | ${unit(ours)} | ${unit(theirs)} | ×${(ours / theirs).toFixed(2)} | ${verdict} |`;
  });
  return ['| what | Sallyport | sshd | ratio | target |', '|---|---|---|---|---|', ...lines].join('\n');
}

const commandTargets: Readonly<Record<string, number>> = { 'tsh --help': 100, 'tctl status': 250 };

function commandTable({ took, bareNode }: CommandFigures): string {
  const lines = Object.entries({ ...took, 'for comparison, `node -e 0`': bareNode }).map(([name, times]) => {
    const limit = commandTargets[name];
    const verdict =
      limit === undefined ? '' : `≤ ${limit} ms: **${median(times) <= limit ? 'met' : 'missed'}**`;
    return `| ${name} | ${ms(median(times))} | ${ms(quantile(times, 0.99))} | ${verdict} |`;
  });
  return ['| P15 | median | 99th percentile | target |', '|---|---|---|---|', ...lines].join('\n');
}

export function clusterSection({ machine, commands, sessions }: ClusterResults): string {
  const { rounds, atOnce, single, rate, failed, serverCpu, clientCpu } = sessions;
  const list = (values: readonly number[], digits: number) => values.map((v) => v.toFixed(digits)).join(' ');
  const raw = [
    ...peers.map((peer) => `${peer}, ssh host true, ms: ${list(single[peer], 0)}`),
    ...peers.map((peer) => `${peer}, sessions a second: ${list(rate[peer], 1)}`),
    ...Object.entries(commands.took).map(([name, times]) => `${name}, ms: ${list(times, 0)}`),
    `node -e 0, ms: ${list(commands.bareNode, 0)}`,
  ].join('\n');
  return `${heading}

Machine: ${machine}. A node of one host that records commands, files and connections, against OpenSSH's sshd in the same
run: same client (OpenSSH's), same host key and host certificate, same user certificate, same account (its shell
is /bin/sh), same PAM service (\`sshd\`), curve25519-sha256 and aes128-gcm with both. ${rounds} rounds of Sallyport, sshd,
sshd, Sallyport, every second round the other way round; five sessions a block for P8, 64 for P9. P10 is the growth of every process that serves sessions
(daemon, recorder, launchers; sshd's processes) with ${atOnce} of them live; what runs in the session is left out.
${failed === 0 ? 'No session failed.' : `${failed} sessions failed.`}

${sessionTable(sessions)}

P9 has a bound: clients and server share the CPUs, so that a server that needed none of them would reach
×${((serverCpu.sshd + clientCpu.sshd) / clientCpu.sshd).toFixed(1)} of sshd.

${commandTable(commands)}

<details><summary>Raw figures</summary>

\`\`\`
${raw}
\`\`\`

</details>
`;
}
