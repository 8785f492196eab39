/** One guest under QEMU: boots a kernel with an initramfs and reads what the guest reports on its serial line. */
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import type { Architecture } from '../../tools/debian-archive.ts';

/** Leads every line of a report; anything else on the line is the kernel's console. */
const mark = '@matrix ';

export interface Report {
  /** `@matrix <topic> <text>` lines by topic, in order. */
  readonly topics: ReadonlyMap<string, readonly string[]>;
  /** Files the guest sent, gzip'ed and whole. */
  readonly files: ReadonlyMap<string, Buffer>;
  /** The last lines of the console, for a failure's message. */
  readonly console: string;
  readonly seconds: number;
}

export interface GuestOptions {
  readonly architecture: Architecture;
  readonly image: string;
  readonly initramfs: string;
  readonly deadlineMs: number;
  /** Where the whole serial output is kept, to be read when a cell fails. */
  readonly log: string;
}

interface Machine {
  readonly program: string;
  readonly args: readonly string[];
  readonly console: string;
}

const machines: Record<Architecture, Machine> = {
  // One thread for both CPUs: with one each, 5.10 now and then never ended the patching of its own code that follows the
  // detaching of our programs; its CPUs waited for each other for good, in emulation only.
  amd64: {
    program: 'qemu-system-x86_64',
    args: ['-accel', 'tcg,thread=single', '-cpu', 'max'],
    console: 'ttyS0',
  },
  // The guest's own pointer authentication is what makes an emulated arm64 slow; this variant is cheap.
  arm64: {
    program: 'qemu-system-aarch64',
    args: ['-accel', 'tcg', '-M', 'virt', '-cpu', 'max,pauth-impdef=on'],
    console: 'ttyAMA0',
  },
};

export function emulator(architecture: Architecture): string {
  return machines[architecture].program;
}

/** Resolves once the guest is off; rejects when it never reported `done` within the deadline. */
export async function bootGuest(options: GuestOptions): Promise<Report> {
  const machine = machines[options.architecture];
  // loglevel=2: of the kernel only alerts may come between the report's lines; the rest is in its dmesg.
  const append = `console=${machine.console} panic=-1 loglevel=2 audit=1 rdinit=/init`;
  const started = Date.now();
  // Below the rest of the machine's work: an emulated guest takes all it is given.
  const child = spawn(
    'nice',
    [
      ...['-n', '10', machine.program, ...machine.args, '-smp', '2', '-m', '512', '-nic', 'none'],
      ...['-kernel', options.image, '-initrd', options.initramfs, '-append', append],
      ...['-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-no-reboot', '-nodefaults'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  const timer = setTimeout(() => child.kill('SIGKILL'), options.deadlineMs);
  await new Promise<void>((resolve, reject) => child.once('close', () => resolve()).once('error', reject));
  clearTimeout(timer);
  const seconds = (Date.now() - started) / 1000;
  const output = Buffer.concat(chunks);
  await writeFile(options.log, output);
  const report = parseReport(output.toString('latin1'), seconds);
  if (!report.topics.has('done')) {
    throw new Error(
      `the guest went silent after ${seconds.toFixed(0)} s; its console ends:\n${report.console}`,
    );
  }
  return report;
}

/** Reads the text of a serial line. `file` lines carry base64 with the offset, so a lost line is noticed. */
export function parseReport(text: string, seconds: number): Report {
  const topics = new Map<string, string[]>();
  const files = new Map<string, Buffer>();
  for (const line of text.split(/\r?\n/)) {
    const at = line.indexOf(mark);
    if (at < 0) continue;
    const [topic = '', ...words] = line.slice(at + mark.length).split(' ');
    if (topic === 'file') {
      const [name = '', offset = '', base64 = ''] = words;
      const sofar = files.get(name) ?? Buffer.alloc(0);
      if (Number(offset) !== sofar.length)
        throw new Error(`${name}: bytes from ${sofar.length} on were lost`);
      files.set(name, Buffer.concat([sofar, Buffer.from(base64, 'base64')]));
    } else {
      topics.set(topic, [...(topics.get(topic) ?? []), words.join(' ')]);
    }
  }
  const lines = text.split(/\r?\n/).filter((line) => !line.includes(`${mark}file `));
  return { topics, files, console: lines.slice(-40).join('\n'), seconds };
}
