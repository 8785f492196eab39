// Ways to run tctl, and what an administrator does first whichever way it is.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Ran, run } from './tsh/cluster.fixture.ts';

export const bin = (name: string) => join(import.meta.dirname, '../../bin', name);

export interface Document {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly revision?: string };
  readonly spec: Record<string, unknown>;
}

export interface Way {
  tctl(args: readonly string[], input?: string, env?: NodeJS.ProcessEnv): Promise<Ran>;
}

export async function ok(
  way: Way,
  args: readonly string[],
  input?: string,
  env?: NodeJS.ProcessEnv,
): Promise<string> {
  const { status, stdout, stderr } = await way.tctl(args, input, env);
  assert.equal(status, 0, `tctl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

export const json = async (way: Way, ...args: string[]): Promise<Document[]> =>
  JSON.parse(await ok(way, [...args, '--format=json']));

export const onAuthHost = (config: string): Way => ({
  tctl: (args, input, env) =>
    run(bin('tctl'), ['-c', config, ...args], {
      ...(input === undefined ? {} : { input }),
      env: { ...process.env, ...env },
    }),
});

/** What an administrator does first, whichever way it is done. */
export function administers(way: () => Way): void {
  test('makes a token, lists it masked, shows it when asked to, and deletes it', async () => {
    const printed = await ok(way(), ['nodes', 'add', '--ttl=5m', '--roles=node']);
    const [, token = ''] =
      /^The invite token: ([0-9a-f]{32})\nThis token will expire in 5 minutes\.$/m.exec(printed) ?? [];
    assert.notEqual(token, '', printed);
    const listed = await ok(way(), ['tokens', 'ls']);
    assert.match(listed, /^Token +Type +Labels +Expiry Time \(UTC\)\n-+ -+ -+ -+\n/);
    assert.match(
      listed,
      new RegExp(
        `^${token.slice(0, 4)}\\*{28} Node +\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d \\((5m|4m\\d+s)\\)$`,
        'm',
      ),
    );
    assert.ok(!listed.includes(token));
    assert.ok((await ok(way(), ['tokens', 'ls', '--with-secrets'])).includes(token));
    assert.equal(await ok(way(), ['tokens', 'rm', token]), `Token ${token} has been deleted\n`);
    assert.equal((await way().tctl(['tokens', 'rm', token])).status, 4);
    assert.equal(await ok(way(), ['tokens', 'ls']), 'No active tokens found.\n');
  });

  test('creates a role, a user with it and a lock on them, and takes all three away', async () => {
    const role =
      'kind: role\nmetadata: {name: ops}\nspec: {allow: {logins: [root], node_labels: {"*": "*"}}}\n';
    assert.equal(await ok(way(), ['create'], role), 'role "ops" has been created.\n');
    const url = /https:\/\/\S+\/web\/(invite|reset)\/[0-9a-f]+|https:\/\/\S+/;
    assert.match(await ok(way(), ['users', 'add', 'dora', '--logins=root', '--roles=ops']), url);
    const [, lock = ''] =
      /^Created a lock with name "([0-9a-f-]{36})", for 1h\.$/m.exec(
        await ok(way(), ['lock', '--user=dora', '--message=laptop stolen', '--ttl=1h']),
      ) ?? [];
    const [found] = await json(way(), 'get', `lock/${lock}`);
    assert.deepEqual([found?.spec['target'], found?.spec['message']], [{ user: 'dora' }, 'laptop stolen']);
    for (const name of [`lock/${lock}`, 'user/dora', 'role/ops']) {
      const [kind, id] = name.split('/');
      assert.equal(await ok(way(), ['rm', name]), `${kind} "${id}" has been deleted.\n`);
      assert.equal((await way().tctl(['get', name])).status, 4);
    }
  });

  test('says which cluster it is, and by which pin it is known', async () => {
    const status = JSON.parse(await ok(way(), ['status', '--format=json']));
    assert.match(status.ca_pin, /^sha256:[0-9a-f]{64}$/);
    const text = await ok(way(), ['status']);
    assert.match(text, new RegExp(`^Cluster: ${status.cluster}\\nVersion: \\d+\\.\\d+\\.\\d+\\n`));
    assert.ok(text.includes(`\nCA pin:  ${status.ca_pin}\n`));
  });
}
