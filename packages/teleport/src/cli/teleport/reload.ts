// SIGHUP: what can be taken up without ending anybody's session is; what cannot is named, never silent.
import type { Config } from '../../config/config.ts';
import type { NodeLog } from '../../ssh/node-log.ts';

export interface ReloadOptions {
  readonly running: Config;
  readonly load: () => Promise<Config>;
  /** `level` takes effect at once. */
  readonly log: NodeLog & { level: string };
  /** Looks whether certificates are due, in its own time. */
  readonly renewCertificates: () => void;
}

/** In effect at once: the log's level. Looked at again besides: this host's certificates. Never rejects. */
export async function reload({ running, load, log, renewCertificates }: ReloadOptions): Promise<void> {
  try {
    const wanted = await load();
    log.level = wanted.log.severity;
    renewCertificates();
    log.info({ severity: wanted.log.severity }, 'reloaded');
    const waiting = changedKeys(running, wanted).filter((key) => key !== 'log.severity');
    if (waiting.length > 0) log.warn({ changed: waiting }, 'these settings wait for the next start');
  } catch (err) {
    log.error({ err }, 'the reload failed; the service goes on as it is');
  }
}

/** Dotted names of what differs. */
export function changedKeys(before: unknown, after: unknown, path = ''): string[] {
  if (!isSection(before) || !isSection(after)) return same(before, after) ? [] : [path];
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].flatMap((name) =>
    changedKeys(before[name], after[name], path === '' ? name : `${path}.${name}`),
  );
}

function isSection(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Values are what YAML gives: JSON tells them apart. */
function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
