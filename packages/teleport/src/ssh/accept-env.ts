// Which of the client's variables reach the session: what Debian's sshd_config lets through (AcceptEnv LANG LC_*)
// and what OpenSSH 10 added (COLORTERM NO_COLOR). Nothing that steers a loader, a shell or a tool.

const exact = new Set(['LANG', 'LANGUAGE', 'COLORTERM', 'NO_COLOR']);
const locale = /^LC_[A-Z0-9_]+$/;
/** Together these are what a client may make us remember before a session exists. */
const maxVariables = 64;
const maxValueLength = 4096;

export class AcceptedEnvironment {
  readonly #accepted = new Map<string, string>();

  /** False: refused, as the client is told. A name sent twice keeps its last value. */
  offer(name: string, value: string): boolean {
    if (!exact.has(name) && !locale.test(name)) return false;
    if (value.length > maxValueLength) return false;
    if (this.#accepted.size >= maxVariables && !this.#accepted.has(name)) return false;
    this.#accepted.set(name, value);
    return true;
  }

  get variables(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#accepted);
  }
}
