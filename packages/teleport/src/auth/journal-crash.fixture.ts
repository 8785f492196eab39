// A process that changes something and dies before it can tell the audit log: run by journal.test.ts.
import { EventStamp } from '../audit/session-emitter.ts';
import { Journal } from './journal.ts';
import { SqliteStore } from './store/sqlite-store.ts';

const store = await SqliteStore.open(process.argv[2] ?? '');
const stamp = new EventStamp({ clusterName: 'test' });
const journal = await Journal.open({
  store,
  audit: {
    stamp: (draft) => stamp.stamp(draft),
    append: () => {
      process.stdout.write('stuck\n');
      return new Promise(() => undefined);
    },
  },
  log: { info: () => undefined, warn: () => undefined },
});
// Holds the process: a promise alone does not.
setInterval(() => undefined, 1000);
await journal.commit(
  [{ type: 'put', key: 'user/ana', value: '{}' }],
  [{ event: 'user.create', code: 'T1002I', name: 'ana', user: 'root' }],
);
