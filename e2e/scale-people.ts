/**
 * People who follow their sign-up links and log in with a password, each step over TLS against the proxy's web port, as
 * a browser and `tsh login` do. They sit at several addresses: one address is slowed down on purpose.
 *
 * As a program: `node scale-people.ts <file>`, which holds PeoplePlan as JSON; prints PeopleResult as JSON.
 */
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { generateEd25519 } from '../packages/teleport/src/ca/openssh-private-key.ts';
import { publicKeyBlob } from '../packages/teleport/src/ca/public-key.ts';
import { httpsPost } from './https-post.ts';

export interface PeoplePlan {
  readonly people: readonly { readonly name: string; readonly url: string; readonly from: string }[];
  readonly proxy: { readonly host: string; readonly port: number };
}

export interface PeopleResult {
  /** Wall time of each log-in, ms. */
  readonly logInMs: readonly number[];
  readonly problems: readonly string[];
}

export const peopleProgram = import.meta.filename;
/** How many log in at a time. */
const lanes = 4;

type Person = PeoplePlan['people'][number];

async function signUp({ url, from, name }: Person): Promise<string> {
  const password = `correct horse ${name}`;
  const form = new URLSearchParams({ password, again: password }).toString();
  const { status, text } = await httpsPost(url, form, { type: 'application/x-www-form-urlencoded', from });
  if (status !== 200) throw new Error(`${name} cannot sign up: ${status} ${text.slice(0, 300)}`);
  return password;
}

async function logIn({ proxy }: PeoplePlan, { name, from }: Person, password: string): Promise<void> {
  const tls = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const body = JSON.stringify({
    proof: { user: name, password },
    ssh_public_key: publicKeyBlob(generateEd25519()).toString('base64'),
    tls_public_key: tls.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  });
  const url = `https://${proxy.host}:${proxy.port}/webapi/ssh/certs`;
  const { status, text } = await httpsPost(url, body, { type: 'application/json', from });
  if (status !== 200 || JSON.parse(text).user !== name)
    throw new Error(`${name} cannot log in: ${status} ${text.slice(0, 300)}`);
}

async function main(plan: PeoplePlan): Promise<PeopleResult> {
  const logInMs: number[] = [];
  const problems: string[] = [];
  const left = [...plan.people];
  const lane = async () => {
    for (let person = left.shift(); person !== undefined; person = left.shift()) {
      try {
        const password = await signUp(person);
        const from = performance.now();
        await logIn(plan, person, password);
        logInMs.push(performance.now() - from);
      } catch (error) {
        problems.push(String(error));
      }
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return { logInMs, problems };
}

if (import.meta.main) {
  const plan = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as PeoplePlan;
  process.stdout.write(`${JSON.stringify(await main(plan))}\n`);
}
