// A profile as a file: YAML in which every value stands on its key's line as JSON, which YAML 1.2 contains. So it is
// read without the YAML library and without schemas, whose loading alone takes longer than `tsh status` may.
import type { Profile } from './profile.ts';

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isTexts: Check = (value) => Array.isArray(value) && value.every(isText);
const isFlag: Check = (value) => typeof value === 'boolean';

const fields: Readonly<Record<keyof Profile, Check>> = {
  web_proxy_addr: isText,
  ssh_proxy_addr: isText,
  user: isText,
  cluster: isText,
  roles: isTexts,
  logins: isTexts,
  valid_until: (value) => isText(value) && !Number.isNaN(Date.parse(String(value))),
  tls_routing_enabled: isFlag,
  insecure: isFlag,
  host_cas: isTexts,
};

export function profileText(profile: Profile): string {
  return Object.entries(profile)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
    .join('');
}

/** undefined: it is no profile. */
export async function parseProfile(text: string): Promise<Profile | undefined> {
  const read = readLines(text) ?? (await readYaml(text));
  if (read === undefined) return undefined;
  const fits = Object.entries(fields).every(([key, check]) => check(read[key]));
  return fits ? (read as unknown as Profile) : undefined;
}

function readLines(text: string): Record<string, unknown> | undefined {
  try {
    const lines = text.split('\n').filter((line) => line !== '');
    return Object.fromEntries(
      lines.map((line) => {
        const at = line.indexOf(': ');
        return [line.slice(0, at), JSON.parse(line.slice(at + 2)) as unknown];
      }),
    );
  } catch {
    return undefined;
  }
}

/** Somebody's editor, or an older version, wrote it another way. */
async function readYaml(text: string): Promise<Record<string, unknown> | undefined> {
  const { parseYamlDocuments } = await import('../../config/yaml-text.ts');
  try {
    const [read] = parseYamlDocuments(text, 'profile');
    return typeof read === 'object' && read !== null ? { ...read } : undefined;
  } catch {
    return undefined;
  }
}
