// Who is in a session besides its owner: how many may be, whose connection answers, who ever was. Knows no channel.
import { maxParticipants } from '@sallyport/contracts/api/session-trackers.ts';
import type { Present } from './sharing.ts';
import type { Attendance } from './standing.ts';

/** Somebody in it. */
export interface Member {
  readonly facts: Present;
}

/** Windows of one person in one session: nobody takes the places of all others. */
const maxOfUser = 4;

export class Roster<M extends Member> {
  readonly #members = new Set<M>();
  /** Of the members: whose connection says nothing now. */
  readonly #silent = new Set<M>();
  /** Users whose coming is being written down: they have a place already. */
  readonly #coming: string[] = [];
  /** Also those who left. */
  readonly #everybody: Set<string>;

  constructor(owner: string) {
    this.#everybody = new Set([owner]);
  }

  /** A copy: who is told something may leave of it. */
  get members(): readonly M[] {
    return [...this.#members];
  }

  /** Everybody who was ever in it, the owner first. */
  get everybody(): readonly string[] {
    return [...this.#everybody];
  }

  get attendance(): Attendance {
    const present = this.members;
    const answering = present.filter((member) => !this.#silent.has(member));
    return { present: present.map(factsOf), answering: answering.map(factsOf) };
  }

  /** Why there is no place for one more window of this user; undefined: there is. */
  isFull(user: string): string | undefined {
    const users = [...this.members.map(({ facts }) => facts.user), ...this.#coming];
    if (users.length >= maxParticipants - 1) return `it has ${maxParticipants} participants already`;
    const own = users.filter((each) => each === user).length;
    return own >= maxOfUser ? `${user} is in it ${maxOfUser} times already` : undefined;
  }

  /** Keeps a place while `work` is under way. */
  async reserve(user: string, work: Promise<void>): Promise<void> {
    this.#coming.push(user);
    try {
      await work;
    } finally {
      this.#coming.splice(this.#coming.indexOf(user), 1);
    }
  }

  has(member: M): boolean {
    return this.#members.has(member);
  }

  add(member: M): void {
    this.#members.add(member);
    this.#everybody.add(member.facts.user);
  }

  remove(member: M): void {
    this.#members.delete(member);
    this.#silent.delete(member);
  }

  /** False: it is as it was. */
  hear(member: M, silent: boolean): boolean {
    if (!this.#members.has(member) || this.#silent.has(member) === silent) return false;
    if (silent) this.#silent.add(member);
    else this.#silent.delete(member);
    return true;
  }
}

function factsOf({ facts }: Member): Present {
  return facts;
}
