// "I want to join that session": two variables of a session channel, before its shell.
import { type JoinMode, joinModes, joinVariables } from '@sallyport/contracts/api/session-trackers.ts';

export interface JoinWish {
  /** As sent: untrusted text. */
  readonly sid: string;
  /** undefined: a mode that there is not. */
  readonly mode: JoinMode | undefined;
}

const maxLength = 64;

export class JoinWishes {
  #sid: string | undefined;
  #mode = 'observer';

  /** undefined: none of ours. */
  offer(name: string, value: string): boolean | undefined {
    if (name !== joinVariables.sid && name !== joinVariables.mode) return undefined;
    if (value === '' || value.length > maxLength) return false;
    if (name === joinVariables.sid) this.#sid = value;
    else this.#mode = value;
    return true;
  }

  get wish(): JoinWish | undefined {
    if (this.#sid === undefined) return undefined;
    return { sid: this.#sid, mode: joinModes.find((mode) => mode === this.#mode) };
  }
}
