// The service's own log, as `teleport.log` of the configuration asks for it: pino's JSON lines, or the same for
// eyes. Not the audit log: what goes here is for whoever runs the service.
import { openSync, writeSync } from 'node:fs';
import { Writable } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type DestinationStream, type Logger, pino, stdSerializers } from 'pino';
import type { LogConfig } from '../../config/config.ts';

export function openServiceLog(config: LogConfig): Logger {
  const options = { level: config.severity, base: null, serializers: { err: stdSerializers.err } };
  return pino(
    options,
    config.format === 'json' ? target(config.output) : new TextLines(target(config.output)),
  );
}

function target(output: string): DestinationStream {
  if (output === 'stderr') return process.stderr;
  if (output === 'stdout') return process.stdout;
  return new LogFile(output);
}

/** Lines that a full disk does not take are lost; those after them are written again. */
class LogFile implements DestinationStream {
  readonly #file: number;

  constructor(path: string) {
    try {
      this.#file = openSync(path, 'a', 0o640);
    } catch (cause) {
      throw new AppError('unavailable', 'start.log_file', `The log ${path} cannot be written.`, {
        hint: 'Make its folder, or set teleport.log.output to stderr.',
        cause,
      });
    }
  }

  write(line: string): void {
    try {
      writeSync(this.#file, line);
    } catch {
      // There is no other place to say so, and the service is worth more than a line of its log.
    }
  }
}

const names = new Map([
  [10, 'TRACE'],
  [20, 'DEBUG'],
  [30, 'INFO '],
  [40, 'WARN '],
  [50, 'ERROR'],
  [60, 'FATAL'],
]);

/** `2026-11-21T12:00:00.000Z INFO  message key=value …`, stacks of unexpected errors below. */
class TextLines extends Writable {
  readonly #target: DestinationStream;

  constructor(into: DestinationStream) {
    super({ decodeStrings: false });
    this.#target = into;
  }

  override _write(chunk: string | Buffer, _encoding: string, done: () => void): void {
    this.#target.write(textLine(String(chunk)));
    done();
  }
}

interface LogRecord {
  readonly level: number;
  readonly time: number;
  readonly msg?: string;
  readonly err?: {
    readonly type?: string;
    readonly message?: string;
    readonly hint?: string;
    readonly stack?: string;
  };
}

export function textLine(json: string): string {
  const { level, time, msg, err, ...fields } = JSON.parse(json) as LogRecord & Record<string, unknown>;
  const parts = [new Date(time).toISOString(), names.get(level) ?? String(level), msg ?? ''];
  for (const [key, value] of Object.entries(fields)) parts.push(`${key}=${shown(value)}`);
  if (err?.message !== undefined) parts.push(`error=${shown(err.message)}`);
  if (err?.hint !== undefined) parts.push(`hint=${shown(err.hint)}`);
  // An AppError says what happened; anything else is a bug, and its stack is what helps.
  const stack = err?.stack !== undefined && err.type !== 'AppError' ? `\n${err.stack}` : '';
  return `${parts.join(' ')}${stack}\n`;
}

/** Strings with blanks or control characters are quoted: a value can never look like another field or line. */
function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return typeof value !== 'string' || /^[\x21\x23-\x7e]+$/.test(text) ? text : JSON.stringify(text);
}
