// A PAM service of a test's own, and a program for pam_exec that notes what it is shown.
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

let services = 0;

export class PamService {
  readonly name: string;
  readonly dir: string;

  constructor() {
    services += 1;
    this.name = `sallyport-test-${process.pid}-${services}`;
    this.dir = mkdtempSync('/tmp/sallyport-pam-');
    chmodSync(this.dir, 0o755); // pam_motd reads as the user
    writeFileSync(this.noter, `#!/bin/sh\n{ echo "== $PAM_TYPE"; env; echo =END; } >>${this.#notes}\n`, {
      mode: 0o755,
    });
  }

  /** Path of the program: each stage becomes a paragraph of `noted`. */
  get noter(): string {
    return join(this.dir, 'note');
  }

  get #notes(): string {
    return join(this.dir, 'notes');
  }

  /** Lines of the file in /etc/pam.d. `NOTE` stands for pam_exec with the noter. */
  set(...lines: readonly string[]): void {
    const text = lines.map((line) => line.replace('NOTE', `pam_exec.so ${this.noter}`)).join('\n');
    writeFileSync(`/etc/pam.d/${this.name}`, `${text}\n`);
  }

  /** A file beside it, for modules that read one. */
  file(name: string, text: string): string {
    const path = join(this.dir, name);
    writeFileSync(path, text);
    return path;
  }

  /** What was noted since it was last forgotten: stage, and the variables it saw. */
  noted(forget = true): { stage: string; variables: string[] }[] {
    if (!existsSync(this.#notes)) return [];
    const text = readFileSync(this.#notes, 'utf8');
    if (forget) rmSync(this.#notes);
    return text
      .split('== ')
      .slice(1)
      .filter((paragraph) => paragraph.endsWith('=END\n')) // the last may be being written
      .map((paragraph) => {
        const [stage = '', ...variables] = paragraph.trim().split('\n').slice(0, -1);
        return { stage, variables: variables.sort() };
      });
  }

  remove(): void {
    rmSync(`/etc/pam.d/${this.name}`, { force: true });
    rmSync(this.dir, { recursive: true });
  }
}
