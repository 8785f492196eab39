// What `teleport start` was asked to do, after flags and file became one configuration.
import type { Config, ConfigWarning } from '../../config/config.ts';

export interface StartOptions {
  /** File and flags together; frozen. */
  readonly config: Config;
  /** To be logged at start, each; never silent. */
  readonly warnings: readonly ConfigWarning[];
  /** The same again, from the file as it is then. */
  readonly reload: () => Promise<Config>;
  /** The file it came from; `undefined`: defaults only. */
  readonly configPath: string | undefined;
  /** How long sessions of a daemon that was taken over from may go on, ms. */
  readonly drainMs: number;
  /** How long a daemon that takes over may need until it serves, ms. */
  readonly readyMs: number;
  /** --insecure: development only. */
  readonly insecure: boolean;
}
