// Words shared by the sentences. Everything a user can choose passes through `shown`: a sentence is printed on
// terminals, where a control character or a bidirectional override would rewrite what the reader sees.

/** C0, DEL, C1, line and paragraph separators, bidirectional controls, byte order mark, lone surrogates. */
const unprintable =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is its purpose
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]|\p{Surrogate}/gu;

/** The text with every unprintable character written as \uXXXX. */
export function shown(text: string): string {
  return text.replace(unprintable, escapeCharacter);
}

export function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

export { unprintable };

interface Who {
  readonly user?: string | undefined;
  readonly login?: string | undefined;
}

/** "alice", or "alice (as root)" when the account differs. */
export function who(event: Who): string {
  if (event.user === undefined || event.user === '')
    return event.login === undefined ? 'someone' : `someone (as ${shown(event.login)})`;
  if (event.login === undefined || event.login === event.user) return shown(event.user);
  return `${shown(event.user)} (as ${shown(event.login)})`;
}

interface Where {
  readonly server_hostname?: string | undefined;
  readonly server_id?: string | undefined;
}

/** " on web-1"; empty when the event names no server. */
export function where(event: Where): string {
  const name = event.server_hostname ?? event.server_id;
  return name === undefined ? '' : ` on ${shown(name)}`;
}

/** A program and its arguments, quoted where a shell would need it. */
export function commandLine(path: string, argv: readonly string[]): string {
  return [path, ...argv].map(quoted).join(' ');
}

function quoted(word: string): string {
  const safe = shown(word);
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(safe) ? safe : `'${safe.replaceAll("'", "'\\''")}'`;
}

/** ": connection refused"; empty without a reason. */
export function because(reason: string | undefined): string {
  return reason === undefined || reason === '' ? '' : `: ${shown(reason)}`;
}

/** "192.0.2.1:443", "[2001:db8::1]:443". */
export function endpoint(address: string, port: number): string {
  return address.includes(':') ? `[${shown(address)}]:${port}` : `${shown(address)}:${port}`;
}

/** "3 bytes", "1 byte". */
export function count(n: number, singular: string): string {
  return `${n} ${singular}${n === 1 ? '' : 's'}`;
}
