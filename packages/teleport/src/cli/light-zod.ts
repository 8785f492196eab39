// What of zod a command that runs for a moment does without: its messages in 64 languages, a file each, which are loaded
// with everything else of it (35 ms of CPU; ours are English), and the functions it writes and compiles for each object
// before the first use (a tenth of `tctl status`, which reads three answers). Where zod changes its folders or its
// setting, nothing is left out.
import { registerHooks } from 'node:module';

const none = { url: 'data:text/javascript,export{}', format: 'module', shortCircuit: true } as const;
/** So many modules of zod import the locales. Then nobody looks at imports any more, which costs those of YAML 10 ms. */
const importers = 2;

/** Before the first import of zod. */
export function lightenZod(): void {
  // What z.config() sets, read while schemas are made: by the time z could be imported they are.
  Object.assign(globalThis, { __zod_globalConfig: { jitless: true } });
  leaveOutLocales();
}

/** The smaller half, for tests: they check with what the daemon checks with. */
export function leaveOutLocales(): void {
  let left = importers;
  const hooks = registerHooks({
    resolve: (specifier, context, next) => {
      if (specifier !== '../locales/index.js' || !context.parentURL?.includes('/node_modules/zod/'))
        return next(specifier, context);
      left -= 1;
      if (left === 0) hooks.deregister();
      return none;
    },
  });
}
