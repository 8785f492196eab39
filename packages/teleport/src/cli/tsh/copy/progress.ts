// One line a file: how much, how fast, how long still. For a terminal; nobody else is told anything.
import { visible } from '../../output.ts';
import type { FileProgress } from './copy.ts';

const drawMs = 200;

export class Progress {
  readonly #out: NodeJS.WriteStream;
  readonly #now: () => number;

  constructor(out: NodeJS.WriteStream, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#now = now;
  }

  begin(path: string, size: number): FileProgress {
    const started = this.#now();
    const name = visible(path.split('/').at(-1) ?? path);
    let bytes = 0;
    let drawn = started;
    const draw = (end: string) => {
      drawn = this.#now();
      const columns = this.#out.columns || 80;
      this.#out.write(
        `\r${line({ name, bytes, size, ms: drawn - started, columns, over: end !== '' })}${end}`,
      );
    };
    return {
      moved: (more) => {
        bytes += more;
        if (this.#now() - drawn >= drawMs) draw('');
      },
      end: () => draw('\n'),
    };
  }
}

export interface Drawn {
  readonly name: string;
  readonly bytes: number;
  readonly size: number;
  readonly ms: number;
  readonly columns: number;
  /** The time that it took, not the time it will. */
  readonly over: boolean;
}

export function line({ name, bytes, size, ms, columns, over }: Drawn): string {
  const percent = size === 0 ? 100 : Math.min(100, Math.floor((100 * bytes) / size));
  const perSecond = ms > 0 ? (1000 * bytes) / ms : 0;
  const seconds = over ? ms / 1000 : perSecond > 0 ? (size - bytes) / perSecond : 0;
  const figures = `${String(percent).padStart(3)}% ${amount(bytes).padStart(8)} ${`${amount(perSecond)}/s`.padStart(10)} ${clock(seconds)}`;
  const room = Math.max(8, columns - figures.length - 2);
  const short = name.length > room ? `${name.slice(0, room - 1)}…` : name.padEnd(room);
  return `${short} ${figures}`;
}

/** As scp's meter: powers of 1024. */
function amount(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)}${units[unit]}`;
}

function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(Math.min(seconds, 359_999)));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const two = (n: number) => String(n).padStart(2, '0');
  return hours > 0
    ? `${two(hours)}:${two(minutes)}:${two(whole % 60)}`
    : `${two(minutes)}:${two(whole % 60)}`;
}
