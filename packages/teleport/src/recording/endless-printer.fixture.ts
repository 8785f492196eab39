// A process that records a counter until it is killed. argv: log folder. Prints how many prints are acknowledged.
import { hostId, sid } from './recording.fixture.ts';
import { TerminalRecording } from './terminal-recording.ts';

const [logDir = ''] = process.argv.slice(2);
let ei = 0;
const recording = await TerminalRecording.create({ logDir, hostId, sid, nextEi: () => ei++ });

for (let n = 0; ; n += 10) {
  await Promise.all(Array.from({ length: 10 }, (_, i) => recording.print(Buffer.from(`${n + i}\n`))));
  process.stdout.write(`${n + 10}\n`);
}
