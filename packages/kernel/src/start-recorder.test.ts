import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ControlStream, controlFrame } from './control-frames.ts';
import { startRecorder } from './start-recorder.ts';
import { control_error, control_hello, control_type, WIRE_HASH } from './wire.gen.ts';

let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'start-test-'));
});
after(() => rm(dir, { recursive: true }));

const options = (binary: string) => ({
  binary,
  socketPath: join(dir, 'recorder.sock'),
  spoolDir: join(dir, 'spool'),
  ringBytes: 4096,
  log: join(dir, 'recorder.log'),
});

test('a missing program is named, with how to build it', async () => {
  await assert.rejects(startRecorder(options(join(dir, 'nowhere'))), {
    name: 'RecorderError',
    code: 'recorder_missing',
    hint: /make/,
  });
});

test('a program that gives up is reported with its own last words, long before the deadline', async () => {
  const binary = join(dir, 'gives-up');
  await writeFile(binary, '#!/bin/sh\necho first >&2\necho "no BTF on this kernel" >&2\nexit 3\n', {
    mode: 0o700,
  });
  const started = performance.now();
  await assert.rejects(startRecorder(options(binary)), {
    code: 'recorder_failed',
    message: /exit 3.*no BTF on this kernel/s,
  });
  assert.ok(performance.now() - started < 10_000);
});

test('a program that never listens is given up at the deadline, and asked to go', async () => {
  const binary = join(dir, 'never-listens');
  const went = join(dir, 'went');
  await writeFile(binary, `#!/bin/sh\ntrap 'echo > ${went}; exit' TERM\nwhile :; do sleep 0.05; done\n`, {
    mode: 0o700,
  });
  await assert.rejects(startRecorder({ ...options(binary), deadlineMs: 500 }), {
    code: 'recorder_failed',
    message: /in time/,
  });
  await until(() => existsSync(went));
});

async function until(check: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 10_000; !check(); await delay(10)) {
    if (Date.now() > deadline) throw new Error(`not within 10 s: ${check}`);
  }
}

test('a socket path longer than the kernel takes is refused at once', async () => {
  const socketPath = join(dir, 'x'.repeat(120));
  await assert.rejects(startRecorder({ ...options('/bin/true'), socketPath }), {
    code: 'recorder_socket_path',
  });
});

/** A recorder of another release: its hello carries another hash. `busy`: it refuses to shut down. */
async function otherRelease(t: TestContext, busy: boolean) {
  const socketPath = join(dir, busy ? 'busy.sock' : 'idle.sock');
  const asked: number[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.write(controlFrame(control_type.CONTROL_HELLO, 0, Buffer.alloc(control_hello.SIZE, 1)));
    const stream = new ControlStream();
    socket.on('data', (chunk) => {
      const frames = stream.push(chunk);
      assert.ok(typeof frames !== 'string');
      for (const frame of frames) {
        asked.push(frame.type);
        if (busy) {
          const body = Buffer.alloc(control_error.SIZE);
          body.writeInt32LE(-16, control_error.error);
          socket.write(controlFrame(control_type.CONTROL_ERROR, frame.id, body));
        } else {
          socket.end(controlFrame(frame.type, frame.id));
          server.close();
        }
      }
    });
  });
  server.listen(socketPath);
  await once(server, 'listening');
  t.after(() => server.close());
  return { socketPath, asked };
}

test('a recorder of another release that still watches is left alone, and ours is started beside it', async (t) => {
  const { socketPath, asked } = await otherRelease(t, true);
  const [binary, said] = [join(dir, 'beside'), join(dir, 'beside.args')];
  await writeFile(binary, `#!/bin/sh\necho "$@" > ${said}\nexit 1\n`, { mode: 0o700 });
  await assert.rejects(startRecorder({ ...options(binary), socketPath }), { code: 'recorder_failed' });
  assert.deepEqual(asked, [control_type.CONTROL_SHUTDOWN]);
  const name = WIRE_HASH.slice(0, 8);
  const args = await readFile(said, 'utf8');
  assert.ok(args.includes(`--socket ${join(dir, `busy-${name}.sock`)} `), args);
  assert.ok(args.includes(`--instance -${name}`), args);
});

test('an idle recorder of another release is asked to go before ours is started', async (t) => {
  const { socketPath, asked } = await otherRelease(t, false);
  // Started for good only after the other one is gone: /bin/false then ends at once.
  await assert.rejects(startRecorder({ ...options('/bin/false'), socketPath }), {
    code: 'recorder_failed',
    message: /exit 1/,
  });
  assert.deepEqual(asked, [control_type.CONTROL_SHUTDOWN]);
});

test('a program of another release is not left behind once it is refused', async () => {
  const [binary, pidFile] = [join(dir, 'other-release'), join(dir, 'other-release.pid')];
  const socketPath = join(dir, 'other-release.sock');
  const hello = controlFrame(control_type.CONTROL_HELLO, 0, Buffer.alloc(control_hello.SIZE, 1));
  // Says hello under another hash, answers whatever it is asked with yes, and goes then.
  const frames = join(import.meta.dirname, 'control-frames.ts');
  await writeFile(
    binary,
    `#!${process.execPath}
const { ControlStream, controlFrame } = await import(${JSON.stringify(frames)});
(await import('node:fs')).writeFileSync(${JSON.stringify(pidFile)}, String(process.pid));
(await import('node:net')).createServer((socket) => {
  const stream = new ControlStream();
  socket.on('error', () => {}).write(Buffer.from('${hello.toString('base64')}', 'base64'));
  socket.on('data', (chunk) => {
    for (const { type, id } of stream.push(chunk)) socket.end(controlFrame(type, id), () => process.exit());
  });
}).listen(${JSON.stringify(socketPath)});
`,
    { mode: 0o700 },
  );
  await assert.rejects(startRecorder({ ...options(binary), socketPath }), {
    code: 'recorder_version',
    kind: 'conflict',
  });
  const pid = Number(await readFile(pidFile, 'utf8'));
  await until(() => !existsSync(`/proc/${pid}`));
});
