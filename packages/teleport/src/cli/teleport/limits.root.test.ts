// How many sessions: in a connection, and on a node.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cannotLaunch } from '../../ssh/host.fixture.ts';
import { OneNode, until } from './one-node.fixture.ts';
import { only } from './session-assertions.fixture.ts';

/** Sessions over one connection of OpenSSH's ssh, which its master holds. */
class Multiplexed {
  readonly #node: OneNode;
  readonly #path: string;
  readonly sessions: ChildProcess[] = [];

  constructor(node: OneNode, name: string) {
    this.#node = node;
    this.#path = join(node.folder, name);
  }

  async open(): Promise<void> {
    this.#spawn(['-M', '-N']);
    await until('the master is connected', async () => (await this.#ran(['-O', 'check'])).status === 0);
  }

  /** A session that stays, once its command runs; its refusal's text when it does not. */
  async session(): Promise<string | undefined> {
    const child = this.#spawn([], 'echo up; read x');
    let said = '';
    let refused = '';
    child.stdout?.on('data', (chunk) => {
      said += chunk;
    });
    child.stderr?.on('data', (chunk) => {
      refused += chunk;
    });
    await until('it runs or is refused', () => said === 'up\n' || child.exitCode !== null);
    return said === 'up\n' ? undefined : refused;
  }

  async close(): Promise<void> {
    await this.#ran(['-O', 'exit']);
    for (const child of this.sessions) child.kill();
  }

  #spawn(flags: string[], ...command: string[]): ChildProcess {
    // Refused by the master, ssh would open a connection of its own: the first -p counts, and nobody listens there.
    const port = flags.includes('-M') ? [] : ['-p', '1'];
    const args = ['-S', this.#path, ...flags, ...port, ...this.#node.sshArgs(), ...command];
    const child = spawn('ssh', args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.sessions.push(child);
    return child;
  }

  async #ran(flags: string[]): Promise<{ status: number | null }> {
    const child = spawn('ssh', ['-S', this.#path, ...flags, ...this.#node.sshArgs()], { stdio: 'ignore' });
    return await new Promise((resolve) => child.once('close', (status) => resolve({ status })));
  }
}

describe('limits of sessions', { skip: cannotLaunch() }, () => {
  const nodes: OneNode[] = [];
  const connections: Multiplexed[] = [];
  let roomy: OneNode;
  before(async () => {
    roomy = await OneNode.start({ enhanced: false });
    nodes.push(roomy);
  });
  after(async () => {
    for (const connection of connections) await connection.close();
    for (const node of nodes) await node.remove();
  });

  const connect = async (node: OneNode, name: string) => {
    const connection = new Multiplexed(node, name);
    connections.push(connection);
    await connection.open();
    return connection;
  };

  test('a connection has ten sessions at most, and room again when one has ended', async () => {
    const connection = await connect(roomy, 'ten');
    for (let i = 0; i < 10; i++) assert.equal(await connection.session(), undefined, `session ${i + 1}`);
    assert.match(String(await connection.session()), /Session open refused by peer/);
    assert.equal(roomy.service?.registry.size, 10);
    connection.sessions[1]?.stdin?.end(); // [0] is the master
    await until('one has ended', () => roomy.service?.registry.size === 9);
    assert.equal(await connection.session(), undefined);
  });

  test('a node has as many sessions as configured; one more is refused, and audited as session.rejected', async () => {
    const node = await OneNode.start({
      enhanced: false,
      teleportYaml: 'connection_limits: { max_connections: 2 }',
    });
    nodes.push(node);
    const connection = await connect(node, 'two');
    assert.equal(await connection.session(), undefined);
    assert.equal(await connection.session(), undefined);
    assert.notEqual(await connection.session(), undefined);
    const [rejected] = await until('the rejection is in the log', async () => {
      const found = only(await node.events(), 'session.rejected');
      return found.length > 0 && found;
    });
    assert.deepEqual([rejected?.code, rejected?.['maximum'], rejected?.['user']], ['T1006W', 2, 'alice']);
  });

  test('a node without enhanced recording still records the terminal', async () => {
    const { ran, events } = await roomy.session('/bin/echo shown', { tty: true });
    assert.equal(ran.stdout, 'shown\r\n');
    const end = events.at(-1);
    assert.equal(end?.['enhanced_recording'], false);
    assert.equal('enhanced_totals' in (end ?? {}), false);
    assert.deepEqual(only(events, 'session.command'), []);
    const shown = await roomy.recordedOutput(String(end?.['sid']));
    assert.equal(shown, 'shown\r\n');
  });
});
