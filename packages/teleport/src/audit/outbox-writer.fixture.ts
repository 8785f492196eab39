// A process that appends to an outbox until it is killed. argv: folder, number of the first event. Prints how many
// events there are, after each append that was acknowledged.
import { commandEvent } from './event.fixture.ts';
import { Outbox } from './outbox.ts';

const [dir = '', from = '0'] = process.argv.slice(2);
const outbox = await Outbox.open({ dir, segmentBytes: 20_000 });

for (let first = Number(from); ; first += 12) {
  const appends = [0, 3, 6, 9].map((n) =>
    outbox.append([commandEvent(first + n), commandEvent(first + n + 1), commandEvent(first + n + 2)]),
  );
  await Promise.all(appends);
  process.stdout.write(`${first + 12}\n`);
}
