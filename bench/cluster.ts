/**
 * `make bench`, second half: sessions against OpenSSH's sshd (P8–P10) and our own commands (P15). Puts its section into
 * docs/reference/benchmarks.md, which the first half writes. BENCH_ROUNDS sets how many; never fails for a slow figure.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { OneHost, repository } from '../e2e/one-host.ts';
import { clusterSection, withSection } from './cluster-page.ts';
import { measureCommands } from './commands.ts';
import { machine } from './machine.ts';
import { measureSessions } from './sessions.ts';

OneHost.stopOnSignal();
const rounds = Number(process.env['BENCH_ROUNDS'] ?? 10);
const commands = await measureCommands(rounds * 2);
const sessions = await measureSessions(rounds);
const section = clusterSection({ machine, commands, sessions });
const page = join(repository, 'docs/reference/benchmarks.md');
writeFileSync(page, withSection(readFileSync(page, 'utf8'), section));
process.stdout.write(section);
