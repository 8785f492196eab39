// `teleport doctor`: what enhanced recording needs, what this host has, which hook serves each event, and by which
// ways a user could get around the record here. On an auth host also: whether its databases answer.
import { AppError } from '@sallyport/contracts/errors.ts';
import { probeHost } from '@sallyport/kernel/host-probe.ts';
import {
  type EventHook,
  evaluateHost,
  eventHooks,
  type HostCondition,
} from '@sallyport/kernel/host-support.ts';
import { loadConfigFile } from '../../config/load-config.ts';
import { print, printJson, styled, table } from '../output.ts';
import { type DatabaseCondition, databaseConditions } from './doctor-databases.ts';
import { waysAround } from './hardening/hardening.ts';
import type { Way } from './hardening/way.ts';

export async function doctorAction({ format, config }: { format: string; config?: string }): Promise<void> {
  if (format !== 'text' && format !== 'json') {
    throw new AppError('bad_input', 'cli.unknown_format', `--format must be text or json, not "${format}".`);
  }
  const facts = await probeHost();
  const conditions = evaluateHost(facts);
  const hooks = facts.features === undefined ? [] : eventHooks(facts.features);
  const able = conditions.every((condition) => condition.ok);
  const hardening = await waysAround();
  const databases = await databaseConditions((await loadConfigFile(config)).config);
  const ok = able && databases.every((database) => database.ok);
  if (format === 'json')
    printJson({
      ok,
      conditions,
      hooks: hooks.map(({ event, hook }) => ({ event, hook: hook ?? null })),
      hardening,
      databases,
    });
  else {
    printReport(conditions, hooks, able);
    printWays(hardening);
    if (databases.length > 0) printDatabases(databases);
  }
  if (!ok) process.exitCode = 1;
}

function printReport(conditions: readonly HostCondition[], hooks: readonly EventHook[], ok: boolean): void {
  print(
    table(
      ['Condition', 'Found', 'Needed', 'OK'],
      conditions.map(({ name, found, needed, ok: met }) => [name, found, needed, met ? 'yes' : 'NO']),
    ),
  );
  for (const { name, fix } of conditions.filter((condition) => !condition.ok)) {
    print(`\n${styled('red', `${name}:`)} ${fix}`);
  }
  if (hooks.length > 0) {
    print();
    print(
      table(
        ['Event', 'Recorded by'],
        hooks.map(({ event, hook }) => [event, hook ?? '(not on this host)']),
      ),
    );
  }
  print();
  print(
    ok
      ? styled('green', 'This host can record sessions in the kernel.')
      : styled('red', 'This host cannot record sessions in the kernel yet.'),
  );
  if (!ok)
    print(
      'With ssh_service.enhanced_recording.enabled: true the service refuses to start here; without it, terminals are still recorded.',
    );
}

function printDatabases(databases: readonly DatabaseCondition[]): void {
  print();
  print(
    table(
      ['Database', 'Of', 'Found', 'OK'],
      databases.map(({ place, use, found, ok }) => [place, use, found, ok ? 'yes' : 'NO']),
    ),
  );
  for (const { place, fix } of databases)
    if (fix !== undefined) print(`\n${styled('red', `${place}:`)} ${fix}`);
}

/** They do not count for the exit status: what is open may be meant to be. */
function printWays(ways: readonly Way[]): void {
  print();
  print(
    table(
      ['Way around the record', 'Found', 'Closed'],
      ways.map(({ name, found, closed }) => [name, found, closed ? 'yes' : 'NO']),
    ),
  );
  for (const { name, why, fix } of ways.filter(({ closed }) => !closed)) {
    print(`\n${styled('yellow', `${name}:`)} ${why}.\n  Fix: ${fix}.`);
  }
  print('\nMore: docs/guides/hardening-a-host.md');
}
