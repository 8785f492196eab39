/**
 * What people and administrators do to a cluster while its auth servers come and go: log-ins with a second factor
 * (HTTPS to the proxy), sessions (OpenSSH through the gateway), writes of resources (the API through the proxy, as tctl
 * after a log-in). Whatever fails is reported: nothing here tries anything twice.
 *
 * As a program: `node auth-servers-load.ts <file>`, which holds LoadPlan as JSON; goes on until its standard input ends,
 * then prints LoadResult as JSON.
 */
import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { type AuthRoutes, authRoutes, type Trust } from '@sallyport/contracts/api/auth-routes.ts';
import { type Client, createClient } from '@sallyport/contracts/api/client.ts';
import { generateSync } from 'otplib';
import { generateEd25519 } from '../packages/teleport/src/ca/openssh-private-key.ts';
import { publicKeyBlob } from '../packages/teleport/src/ca/public-key.ts';
import { type TlsKeyPair, tlsTransport } from '../packages/teleport/src/membership/transport.ts';
import { httpsPost } from './https-post.ts';

export interface LoadPlan {
  readonly proxy: { readonly host: string; readonly port: number };
  readonly version: string;
  /** Besides the time a log-in takes. */
  readonly logInEveryMs: number;
  /** Where people sit, who log in from them in turn: the proxy takes 30 attempts a minute from an address. */
  readonly places: readonly string[];
  /** Each logs in once. */
  readonly people: readonly { readonly name: string; readonly password: string; readonly secret: string }[];
  /** Command lines of sessions, taken in turn. */
  readonly sessions: readonly (readonly string[])[];
  /** How the roles that are written are called, before their number. */
  readonly roles: string;
  /** Of an administrator, for the API. */
  readonly admin: { readonly pair: TlsKeyPair; readonly trust: Trust };
}

export interface Work {
  readonly done: number;
  /** Longest and median wall time, ms. */
  readonly slowestMs: number;
  readonly medianMs: number;
  readonly failures: readonly string[];
}

export interface LoadResult {
  readonly logIns: Work;
  readonly sessions: Work;
  readonly writes: Work;
}

export const loadProgram = import.meta.filename;
const sessionLanes = 2;
/** Between two of a lane: the machine has two cores, and all of the cluster runs on them. */
const breathMs = { session: 100, write: 60 };

let going = true;

class Count {
  readonly #ms: number[] = [];
  readonly #failures: string[] = [];

  async of(what: string, work: () => Promise<unknown>): Promise<void> {
    const begin = performance.now();
    try {
      await work();
      this.#ms.push(performance.now() - begin);
    } catch (error) {
      const after = Math.round(performance.now() - begin);
      this.#failures.push(`${what} after ${after} ms: ${error instanceof Error ? error.message : error}`);
    }
  }

  get result(): Work {
    const sorted = this.#ms.toSorted((a, b) => a - b);
    const at = (index: number) => Math.round(sorted[index] ?? 0);
    return {
      done: sorted.length,
      slowestMs: at(sorted.length - 1),
      medianMs: at(Math.floor(sorted.length / 2)),
      failures: this.#failures.slice(0, 20),
    };
  }
}

async function logIn({ proxy }: LoadPlan, person: LoadPlan['people'][number], from: string): Promise<void> {
  const tls = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const otp = generateSync({ secret: person.secret });
  const body = JSON.stringify({
    proof: { user: person.name, password: person.password, otp },
    ssh_public_key: publicKeyBlob(generateEd25519()).toString('base64'),
    tls_public_key: tls.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  });
  const { status, text } = await httpsPost(`https://${proxy.host}:${proxy.port}/webapi/ssh/certs`, body, {
    type: 'application/json',
    from,
  });
  if (status !== 200 || JSON.parse(text).user !== person.name)
    throw new Error(`${status} ${text.slice(0, 300)}`);
}

async function session(args: readonly string[]): Promise<void> {
  const [file = '', ...rest] = args;
  const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => {
      said += part;
    });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`ssh ended with ${code}: ${said.slice(0, 300)}`);
}

async function write(api: Client<AuthRoutes>, name: string, index: number): Promise<void> {
  const params = { kind: 'role', name } as const;
  await api.putResource({
    params,
    query: { mode: 'create' },
    body: { kind: 'role', metadata: { name }, spec: { allow: { logins: [`l${index}`] } } },
  });
  if (index % 2 === 1) await api.deleteResource({ params });
}

const breath = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function main(plan: LoadPlan): Promise<LoadResult> {
  const [logIns, sessions, writes] = [new Count(), new Count(), new Count()];
  const { pair, trust } = plan.admin;
  const transport = tlsTransport({ addresses: [plan.proxy], identity: () => pair, trust: () => trust });
  const api = createClient(authRoutes, transport, { 'x-sallyport-version': plan.version });
  const people = async () => {
    for (const [index, person] of plan.people.entries()) {
      if (!going) return;
      const place = plan.places[index % plan.places.length] ?? '';
      await logIns.of(`log-in of ${person.name}`, () => logIn(plan, person, place));
      await breath(plan.logInEveryMs);
    }
  };
  let turn = 0;
  const lane = async () => {
    while (going) {
      const args = plan.sessions[turn++ % plan.sessions.length] ?? [];
      await sessions.of('session', () => session(args));
      await breath(breathMs.session);
    }
  };
  const administrator = async () => {
    for (let index = 0; going; index++) {
      await writes.of(`write ${index}`, () => write(api, `${plan.roles}-${index}`, index));
      await breath(breathMs.write);
    }
  };
  await Promise.all([people(), administrator(), ...Array.from({ length: sessionLanes }, lane)]);
  transport.close();
  return { logIns: logIns.result, sessions: sessions.result, writes: writes.result };
}

if (import.meta.main) {
  process.stdin.resume().once('end', () => {
    going = false;
  });
  const plan: LoadPlan = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
  process.stdout.write(`${JSON.stringify(await main(plan))}\n`);
  process.exit(0);
}
