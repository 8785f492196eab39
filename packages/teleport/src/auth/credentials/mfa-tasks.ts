// What people who are logged in do with a security key, in a browser: prove it for a session, add one, remove one. A
// task is begun with their certificate, completed on a page of the proxy by their key alone, and its result goes to
// their certificate: the page's address is worth nothing to anybody else.
//
//   mfa-task/<id>         what is to be done, while it is open
//   mfa-task-end/<id>     what came of it, until it is fetched
import { randomBytes, randomUUID } from 'node:crypto';
import type { mfaTask } from '@sallyport/contracts/api/mfa-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { z } from 'zod';
import type { Account } from '../directory.ts';
import type { Parts } from '../parts.ts';
import { answerWillBe } from '../repeats.ts';
import type { Write } from '../store/store.ts';
import { newCode } from './browser-log-ins.ts';
import { readCredential } from './device.ts';
import { credentialWrite, type FactorProofs, type ProvenFactor, usedBefore } from './factor-proofs.ts';
import { relyingParty } from './log-in.ts';
import {
  type DeviceProof,
  type NewApp,
  notOffered,
  type OwnDevices,
  proofOf,
  type shownDevice,
} from './own-devices.ts';
import { offersWebauthn } from './second-factor.ts';
import {
  type SessionCertificate,
  type SessionCertificates,
  type SessionOrder,
  subjectOf,
  type UserCaller,
} from './session-certificates.ts';
import { checkRegistration, logInOptions, type RelyingParty, registrationOptions } from './webauthn.ts';

type Json = Record<string, unknown>;
type Wanted = z.output<typeof mfaTask>;

type Task =
  | ({ readonly type: 'session' } & Omit<SessionOrder, 'account'>)
  | {
      readonly type: 'add_device';
      readonly name: string;
      readonly passwordless: boolean;
      /** A code was proven at the beginning, or there was nothing to prove. */
      readonly proven: boolean;
      /** Base64url. */
      readonly challenge: string;
    }
  | { readonly type: 'add_app'; readonly name: string }
  | { readonly type: 'remove_device'; readonly name: string };

interface Stored {
  readonly user: string;
  readonly code: string;
  readonly task: Task;
}

interface Open extends Stored {
  readonly id: string;
  readonly revision: string;
}

type Ended =
  | ({ readonly state: 'issued' } & SessionCertificate)
  | { readonly state: 'changed'; readonly device: ReturnType<typeof shownDevice> }
  | ({ readonly state: 'begun' } & NewApp);

export interface Answer {
  readonly get?: Json | undefined;
  readonly create?: Json | undefined;
  readonly remote_addr: string;
  readonly user_agent?: string | undefined;
}

const openMs = 5 * 60_000;
const doneMs = 2 * 60_000;
const maxOpen = 1_000;
const maxOfUser = 10;
const openPrefix = 'mfa-task/';
const endPrefix = 'mfa-task-end/';

export interface MfaTaskRooms {
  readonly proofs: FactorProofs;
  readonly devices: OwnDevices;
  readonly sessions: SessionCertificates;
}

export class MfaTasks {
  readonly #parts: Parts;
  readonly #rooms: MfaTaskRooms;

  constructor(parts: Parts, rooms: MfaTaskRooms) {
    this.#parts = parts;
    this.#rooms = rooms;
  }

  async begin(caller: UserCaller, wanted: Wanted, remoteAddr: string) {
    const { now } = this.#parts;
    this.#party();
    await this.#refuseTooMany(caller.user);
    const { task, proof } = await this.#prepare(caller, wanted, remoteAddr);
    const id = randomBytes(16).toString('base64url');
    const expires = new Date(now().getTime() + openMs);
    const stored: Stored = { user: caller.user, code: newCode(), task };
    const put: Write = { type: 'put', key: openPrefix + id, value: JSON.stringify(stored), expires };
    const begun = answerWillBe({ id, code: stored.code, expires: expires.toISOString() });
    const used =
      proof.told.length === 0 ? [] : [...proof.writes, credentialWrite(caller.user, proof.credential)];
    await this.#parts.journal.commit([...used, put], proof.told).catch((error: unknown) => {
      throw usedBefore(error);
    });
    return begun;
  }

  async read(id: string) {
    const { store, challenges } = this.#parts;
    const { user, code, task } = await this.#open(id);
    const party = this.#party();
    const { devices } = await readCredential(store, user);
    const asks = task.type !== 'add_device' || !task.proven;
    const get = asks ? await logInOptions(party, user, devices, challenges, purposeOf(id)) : undefined;
    const create =
      task.type === 'add_device'
        ? await registrationOptions(
            party,
            user,
            Buffer.from(task.challenge, 'base64url'),
            challenges,
            task.passwordless,
          )
        : undefined;
    const subject = task.type === 'session' ? subjectOf(task) : task.name;
    return { type: task.type, user, code, subject, ...(get && { get }), ...(create && { create }) };
  }

  async complete(id: string, answer: Answer): Promise<{ user: string }> {
    const open = await this.#open(id);
    const account = await this.#parts.directory.account(open.user);
    const { task } = open;
    answerWillBe({ user: open.user });
    if (task.type === 'session') {
      const proven = await this.#prove(open, account, answer, subjectOf(task));
      await this.#rooms.sessions.issue({ account, ...task }, proven, (certificate) =>
        this.#end(open, { state: 'issued', ...certificate }),
      );
    } else if (task.type === 'add_device') {
      await this.#addKey(open, account, task, answer);
    } else if (task.type === 'add_app') {
      const proven = proofOf(await this.#prove(open, account, answer, task.name));
      await this.#rooms.devices.beginTotp(account, task.name, proven, (begun) =>
        this.#end(open, { state: 'begun', ...begun }),
      );
    } else {
      const proven = await this.#prove(open, account, answer, task.name);
      const device = this.#rooms.devices.removable(account, proven.credential, task.name);
      await this.#rooms.devices.remove(account, task.name, proofOf(proven), this.#changed(open, device));
    }
    return { user: open.user };
  }

  /** Once, to its user. */
  async result(caller: UserCaller, id: string): Promise<{ state: 'waiting' } | Ended> {
    const { store } = this.#parts;
    const item = await store.get(openPrefix + id);
    if (item === undefined || (JSON.parse(item.value) as Stored).user !== caller.user) throw gone();
    const end = await store.get(endPrefix + id);
    if (end === undefined) return { state: 'waiting' };
    const taken: Write[] = [
      { type: 'delete', key: endPrefix + id, expect: { revision: end.revision } },
      { type: 'delete', key: openPrefix + id },
    ];
    await store.commit(taken).catch((error: unknown) => {
      throw AppError.from(error).kind === 'conflict' ? gone() : error;
    });
    return JSON.parse(end.value) as Ended;
  }

  async #prepare(
    caller: UserCaller,
    wanted: Wanted,
    remoteAddr: string,
  ): Promise<{ task: Task; proof: DeviceProof }> {
    const { directory, store } = this.#parts;
    const account = await directory.account(caller.user);
    const credential = await readCredential(store, caller.user);
    const nothing = { credential, writes: [], told: [] };
    if (wanted.type === 'session') {
      const order = await this.#rooms.sessions.order(caller, wanted);
      if (order === undefined)
        throw new AppError('conflict', 'auth.no_mfa_needed', 'That session needs no second factor.');
      const { account: _, ...task } = order;
      return { task: { type: 'session', ...task }, proof: nothing };
    }
    if (wanted.type === 'add_app') {
      const keys = this.#rooms.devices.mine(account, credential).filter(({ type }) => type === 'webauthn');
      if (keys.length > 0) return { task: wanted, proof: nothing };
      throw new AppError('conflict', 'auth.no_device', 'You have no security key to prove.', {
        hint: '`tsh mfa ls` lists your second factors.',
      });
    }
    if (wanted.type === 'remove_device') {
      this.#rooms.devices.removable(account, credential, wanted.name);
      return { task: wanted, proof: nothing };
    }
    const hasKey = this.#rooms.devices.mine(account, credential).some(({ type }) => type === 'webauthn');
    const later = wanted.otp === undefined && hasKey;
    const proof = later ? nothing : await this.#rooms.devices.proveToAdd(account, wanted, remoteAddr);
    const { name, passwordless } = wanted;
    const challenge = randomBytes(32).toString('base64url');
    return { task: { type: 'add_device', name, passwordless, proven: !later, challenge }, proof };
  }

  async #addKey(
    open: Open,
    account: Account,
    task: Extract<Task, { type: 'add_device' }>,
    answer: Answer,
  ): Promise<void> {
    const { store, now } = this.#parts;
    const fresh: DeviceProof = { credential: await readCredential(store, open.user), writes: [], told: [] };
    const proof = task.proven ? fresh : proofOf(await this.#prove(open, account, answer, task.name));
    const named = {
      id: randomUUID(),
      name: task.name,
      added: now().toISOString(),
      ...(task.passwordless ? { passwordless: true } : {}),
    };
    const challenge = Buffer.from(task.challenge, 'base64url');
    const made = await checkRegistration(this.#party(), answer.create ?? {}, challenge, named);
    if (!made.ok)
      throw new AppError(
        'denied',
        'auth.bad_second_factor',
        `The security key was not set up: ${made.reason}.`,
      );
    await this.#rooms.devices.add(account, made.value, proof, this.#changed(open, made.value));
  }

  #prove(open: Open, account: Account, answer: Answer, subject: string): Promise<ProvenFactor> {
    return this.#rooms.proofs.prove({
      account,
      proof: { webauthn: answer.get ?? {} },
      purpose: purposeOf(open.id),
      flow: open.task.type === 'add_app' ? 'add_device' : open.task.type,
      subject,
      remoteAddr: answer.remote_addr,
      userAgent: answer.user_agent,
    });
  }

  #changed(open: Open, device: Parameters<typeof shownDevice>[0]): Write[] {
    const { id, name, type } = device;
    return this.#end(open, { state: 'changed', device: { id, name, type } });
  }

  #end({ id, revision }: Open, ended: Ended): Write[] {
    const expires = new Date(this.#parts.now().getTime() + doneMs);
    return [
      { type: 'check', key: openPrefix + id, expect: { revision } },
      { type: 'put', key: endPrefix + id, value: JSON.stringify(ended), expires, expect: 'nothing' },
    ];
  }

  async #open(id: string): Promise<Open> {
    const { store } = this.#parts;
    const [item, end] = await Promise.all([store.get(openPrefix + id), store.get(endPrefix + id)]);
    if (item === undefined || end !== undefined) throw gone();
    return { id, revision: item.revision, ...(JSON.parse(item.value) as Stored) };
  }

  #party(): RelyingParty {
    const party = relyingParty(this.#parts);
    if (party !== undefined && offersWebauthn(this.#parts.settings.secondFactor, party)) return party;
    throw notOffered('security keys');
  }

  async #refuseTooMany(user: string): Promise<void> {
    const open = await this.#parts.store.range(openPrefix, { limit: maxOpen });
    const own = open.filter(({ value }) => (JSON.parse(value) as Stored).user === user);
    if (open.length < maxOpen && own.length < maxOfUser) return;
    throw new AppError('limit', 'auth.too_many_tasks', 'Too many questions wait for a browser.', {
      hint: 'Complete one of them, or try again in a few minutes.',
    });
  }
}

/** A challenge of one task is none of another, and none of a log-in. */
function purposeOf(id: string): string {
  return `webauthn task\0${id}`;
}

function gone(): AppError {
  return new AppError(
    'not_found',
    'auth.no_task',
    'This question is not known: it was answered, it ran out, or it never was.',
    {
      hint: 'Start again in your terminal.',
    },
  );
}
