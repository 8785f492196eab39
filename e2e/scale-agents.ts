/**
 * Many simulated nodes in one process. Each is a member as a real node is (own keys, joined by token through the
 * proxy, watch, heartbeat, reverse tunnel); only what a person reaches behind the tunnel is small: an SSH server of the
 * node's own host key that answers every command with the node's name.
 *
 * As a program: `node scale-agents.ts '<AgentsPlan as JSON>'` prints `N up` once all are there; ends with SIGTERM.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import process from 'node:process';
import { openHostKeys } from '../packages/teleport/src/ca/host-keys.ts';
import { becomeMember } from '../packages/teleport/src/membership/join-cluster.ts';
import { type Membership, startMembership } from '../packages/teleport/src/membership/membership.ts';
import { type SshServer, startSshServer } from '../packages/teleport/src/ssh-transport/server.ts';
import { until } from './one-host.ts';

export interface AgentsPlan {
  readonly count: number;
  /** Web port of a proxy. */
  readonly proxy: { readonly host: string; readonly port: number };
  readonly token: string;
  readonly pin: string;
  readonly folder: string;
}

export const agentsProgram = import.meta.filename;
export const agentName = (index: number) => `sim-${String(index).padStart(3, '0')}`;

const version = '0.1.0';
const log = { debug() {}, info() {}, warn() {}, error() {} };
const now = () => new Date();
/** How many join at a time. */
const lanes = 8;

interface Agent {
  readonly membership: Membership;
  readonly ssh: SshServer;
}

async function startAgent(plan: AgentsPlan, index: number, signal: AbortSignal): Promise<Agent> {
  const nodename = agentName(index);
  const dataDir = join(plan.folder, nodename);
  const addresses = [plan.proxy];
  const member = await becomeMember({
    dataDir,
    keys: await openHostKeys(dataDir),
    hostUuid: randomUUID(),
    nodename,
    roles: ['node'],
    principals: [nodename],
    addresses,
    token: plan.token,
    pins: [plan.pin],
    version,
    now,
    log,
    signal,
  });
  const membership = await startMembership({
    dataDir,
    member,
    upstream: { kind: 'auth', addresses },
    kinds: ['cert_authority', 'role', 'lock', 'proxy'],
    principals: () => [nodename],
    version,
    now,
    log,
  });
  const ssh = await startSshServer({
    hostKeys: member.hostKeys,
    // Whoever proves a key: what a node decides about people is not what is simulated.
    authenticate: async () => ({ ok: true, identity: undefined }),
    onConnection: () => ({
      session: ({ channel }) => ({
        exec: () => {
          void channel.stdout.write(Buffer.from(`${nodename}\n`)).then(() => {
            channel.exit(0);
            void channel.close();
          });
          return true;
        },
      }),
    }),
  });
  const heartbeat = membership.heartbeat(() => ({
    kind: 'node',
    metadata: { name: member.hostUuid },
    spec: { hostname: nodename, tunnel: true, labels: { env: 'simulated', rack: `r${index % 10}` }, version },
  }));
  const tunnels = membership.tunnels(addresses, (stream, remote) => ssh.handle(stream, { remote }));
  await until(
    `${nodename} is up: ${heartbeat.problem ?? tunnels.tunnels[0]?.problem ?? 'no tunnel'}`,
    () => heartbeat.healthy && tunnels.connected.length > 0,
    60_000,
  );
  return { membership, ssh };
}

async function main(plan: AgentsPlan): Promise<void> {
  const ending = new AbortController();
  const agents: Agent[] = [];
  process.once('SIGTERM', () => {
    ending.abort();
    // Members leave as hosts that are switched off do: their documents expire.
    process.exit(0);
  });
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < plan.count; index = next++)
      agents.push(await startAgent(plan, index, ending.signal));
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  process.stdout.write(`${agents.length} up\n`);
}

if (import.meta.main) await main(JSON.parse(process.argv[2] ?? '{}') as AgentsPlan);
