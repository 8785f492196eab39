// `tctl lock`: shuts somebody out within seconds, live sessions included.
import { randomUUID } from 'node:crypto';
import type { LockDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { print } from '../output.ts';
import { withCluster } from './cluster.ts';
import { ttlOf } from './users.ts';

export interface LockFlags {
  readonly user?: string;
  readonly role?: string;
  readonly login?: string;
  readonly node?: string;
  readonly mfaDevice?: string;
  readonly message?: string;
  readonly ttl?: string;
  readonly issuedBefore?: string;
}

export async function lockAction(config: string | undefined, flags: LockFlags): Promise<void> {
  const target = targetOf(flags);
  const ttl = ttlOf(flags.ttl);
  const issuedBefore = instantOf(flags.issuedBefore);
  const name = randomUUID();
  await withCluster(config, async ({ client }) => {
    await client.putResource({
      params: { kind: 'lock', name },
      query: { mode: 'create' },
      body: {
        kind: 'lock',
        version: 'v2',
        metadata: {
          name,
          ...(ttl === undefined ? {} : { expires: new Date(Date.now() + ttl).toISOString() }),
        },
        spec: {
          target,
          ...(flags.message === undefined ? {} : { message: flags.message }),
          ...(issuedBefore === undefined ? {} : { issued_before: issuedBefore }),
        },
      },
    });
    const life = ttl === undefined ? `until \`tctl rm lock/${name}\`` : `for ${flags.ttl}`;
    print(`Created a lock with name "${name}", ${life}.`);
  });
}

/** `now`, or an instant in RFC 3339. */
function instantOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const instant = text === 'now' ? new Date() : new Date(text);
  if (!Number.isNaN(instant.getTime())) return instant.toISOString();
  throw new AppError('bad_input', 'cli.bad_time', `"${text}" is no time.`, {
    hint: 'Write now, or a time such as 2026-01-31T12:00:00Z.',
  });
}

function targetOf(flags: LockFlags): LockDocument['spec']['target'] {
  const { user, role, login, node, mfaDevice } = flags;
  const given = [
    ...(user === undefined ? [] : [{ user }]),
    ...(role === undefined ? [] : [{ role }]),
    ...(login === undefined ? [] : [{ login }]),
    ...(node === undefined ? [] : [{ node }]),
    ...(mfaDevice === undefined ? [] : [{ mfa_device: mfaDevice }]),
  ];
  const [target, another] = given;
  if (target !== undefined && another === undefined) return target;
  throw new AppError('bad_input', 'cli.lock_target', 'A lock has exactly one target.', {
    hint: 'Give one of --user, --role, --login, --node, --mfa-device.',
  });
}
