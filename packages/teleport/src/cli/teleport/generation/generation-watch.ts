// While other daemons of this host live beside us: when one is gone, what it left is taken over. One that drained to
// its end left nothing.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { NodeLog } from '../../../ssh/node-log.ts';
import type { Generation, Generations } from './generations.ts';

export interface GenerationWatchOptions {
  readonly generations: Pick<Generations, 'isLiving'>;
  /** Those that lived before anything was taken over. */
  readonly known: readonly Generation[];
  readonly takeOver: () => Promise<void>;
  readonly log: NodeLog;
}

export interface GenerationWatch {
  stop(): Promise<void>;
}

/** A look at a few files of /proc. */
const lookMs = 500;

export function watchGenerations({ generations, log, ...options }: GenerationWatchOptions): GenerationWatch {
  let { known } = options;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let looking: Promise<void> = Promise.resolve();
  const look = async () => {
    // By its process: one that has said good-bye still holds what it had until it has ended.
    const gone = known.filter(({ id }) => !generations.isLiving(id));
    for (const { pid, version } of gone) log.info({ pid, version }, 'a daemon before this one is gone');
    if (gone.length > 0) await options.takeOver();
    // Not before: what could not be taken over is tried again.
    known = known.filter((one) => !gone.includes(one));
  };
  const next = () => {
    // None beside us, and none will come that is older.
    if (stopped || known.length === 0) return;
    looking = look().catch((thrown) =>
      log.error({ err: AppError.from(thrown) }, 'what a daemon left could not be taken over'),
    );
    void looking.then(() => {
      timer = setTimeout(next, lookMs).unref();
    });
  };
  next();
  return {
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await looking;
    },
  };
}
