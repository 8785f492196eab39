// A process that appends until it is killed. argv: log folder, round, "secondary". Prints how many events are acknowledged.

import { commandEvent, hostId } from './event.fixture.ts';
import { FileLog } from './file-log.ts';

const [logDir = '', round = '0', role] = process.argv.slice(2);
const log = await FileLog.open({ logDir, hostId, secondary: role === 'secondary' });
const eventsAnAppend = 7;

for (let first = 0; ; first += eventsAnAppend * 4) {
  await Promise.all(
    Array.from({ length: 4 }, (_, append) => {
      const start = first + append * eventsAnAppend;
      return log.append(
        Array.from({ length: eventsAnAppend }, (_, n) =>
          commandEvent(start + n, { argv: [`round-${round}-${start + n}`] }),
        ),
      );
    }),
  );
  process.stdout.write(`${first + eventsAnAppend * 4}\n`);
}
