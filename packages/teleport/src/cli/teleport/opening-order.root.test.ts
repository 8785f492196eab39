// The order of opening a session, with real parts: this kernel's cgroups, the launcher, the recorder, the audit log.
// Before each step, what it counts on is looked for where it really lies. The order as it stands finds everything
// in place; every swap of two steps does not.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import { launcherBinary, recorderBinary } from '@sallyport/kernel/binaries.ts';
import { FileLog } from '../../audit/file-log.ts';
import { SessionEmitter } from '../../audit/session-emitter.ts';
import { loadConfig } from '../../config/load-config.ts';
import { facts as someFacts } from '../../ssh/facts.fixture.ts';
import { cannotLaunch, request } from '../../ssh/host.fixture.ts';
import { KernelWatch } from '../../ssh/kernel-watch.ts';
import { type LaunchedSession, launch } from '../../ssh/launch.ts';
import { type OpeningParts, type OpeningStep, openingSteps, openSession } from '../../ssh/opening.ts';
import { startEvent } from '../../ssh/session-events.ts';
import { forgetSession, journalPath, writeJournal } from '../../ssh/session-journal.ts';
import { Turn } from '../../ssh/turn.ts';
import { type OpenKernel, openKernel } from './kernel-side.ts';
import { OneNode, testRecorder } from './one-node.fixture.ts';

const skip = cannotLaunch() || (!existsSync(recorderBinary) && 'the recorder is not built (make)');
const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

describe('opening a session with real parts', { skip }, () => {
  let node: OneNode;
  let kernel: OpenKernel;
  let log: FileLog;
  let spoolDir = '';
  before(async () => {
    node = await OneNode.create(); // for its folder and its configuration; it does not start
    const { config } = loadConfig(node.yaml());
    spoolDir = join(config.dataDir, 'spool');
    await mkdir(spoolDir, { recursive: true, mode: 0o700 });
    log = await FileLog.open({ logDir: join(config.dataDir, 'log'), hostId: someFacts.node.serverId });
    kernel = await openKernel(config, { log: quiet, ...testRecorder() });
  });
  after(async () => {
    await kernel?.close();
    await log?.close();
    await node?.remove();
  });

  /** Opens a session by these steps, ends it, and says what was not in place when it was needed. */
  async function open(steps: readonly OpeningStep[]) {
    const facts = {
      ...someFacts,
      sid: randomUUID(),
      command: 'exec true',
      started: new Date().toISOString(),
    };
    const { sid } = facts;
    const emitter = new SessionEmitter({ clusterName: 'demo' });
    const { side } = kernel;
    const watch = new KernelWatch({
      ...{ kernel: side, facts, emitter, turn: new Turn(), audit: log, log: quiet },
      record: async () => {},
      onGap: (gap) => assert.fail(gap.error.message),
    });
    const missing: string[] = [];
    let launched: LaunchedSession | undefined;
    let held = false;
    const needs = (step: string, what: string, there: boolean) => {
      if (!there) missing.push(`${step} without ${what}`);
    };
    const events = () => Array.fromAsync(log.search({ sid }));
    const started = async () => (await events()).some(({ event }) => event === 'session.start');
    const watched = async () => (await side.link.list()).some(({ sessionId }) => sessionId === sid);
    const inCgroup = async () => {
      const text = await readFile(`/proc/${launched?.leaderPid}/cgroup`, 'utf8').catch(() => '');
      return text.includes(sid);
    };
    const parts: OpeningParts = {
      journal: () => writeJournal(spoolDir, facts, { bootId: 'boot' }),
      cgroup: async () => {
        needs('cgroup', 'journal', existsSync(journalPath(spoolDir, sid)));
        await watch.makeCgroup();
      },
      launcher: async () => {
        needs('launcher', 'journal', existsSync(journalPath(spoolDir, sid)));
        needs('launcher', 'cgroup', existsSync(String(watch.cgroupDir)));
        launched = await launch(
          request('root', { launcher: launcherBinary, command: facts.command, cgroupDir: watch.cgroupDir }),
        );
      },
      watch: async () => {
        needs('watch', 'leader in the cgroup', await inCgroup());
        if (launched) await watch.watch(launched);
      },
      announce: async () => {
        needs('announce', 'watch', await watched());
        await log.append([emitter.stamp(startEvent(facts))]);
        watch.release();
      },
      hold: async () => {
        needs('hold', 'session.start', await started());
        held = true;
      },
      go: async () => {
        needs('go', 'hold', held);
        needs('go', 'journal', existsSync(journalPath(spoolDir, sid)));
        needs('go', 'watch', await watched());
        needs('go', 'session.start', await started());
        await launched?.go();
      },
    };
    const policy = { recordSession: 'strict', degraded: () => assert.fail('nothing is degraded') } as const;
    const refused = await openSession(parts, policy, steps).then(
      () => undefined,
      (error: Error) => error,
    );
    await end(watch, launched);
    await forgetSession(spoolDir, sid);
    return { missing, refused, events: await events() };
  }

  async function end(watch: KernelWatch, launched: LaunchedSession | undefined): Promise<void> {
    launched?.kill(); // one that was never let go; the others have ended by themselves or are about to
    await launched?.closed;
    await watch.kill();
    await watch.finish();
    await watch.close();
  }

  const shellExec = (event: AuditEvent | undefined) =>
    event?.event === 'session.command' && event.argv.join(' ') === '-c exec true';

  test('finds everything in place, and the shell’s own exec is record 1, behind session.start', async () => {
    const { missing, refused, events } = await open(openingSteps);
    assert.equal(refused, undefined);
    assert.deepEqual(missing, []);
    assert.equal(events[0]?.event, 'session.start');
    assert.ok(shellExec(events[1]), JSON.stringify(events[1]));
    assert.equal(events[1] && 'seq' in events[1] ? events[1].seq : undefined, 1);
  });

  for (let first = 0; first < openingSteps.length; first++) {
    for (let second = first + 1; second < openingSteps.length; second++) {
      const swapped = [...openingSteps];
      [swapped[first], swapped[second]] = [swapped[second] as OpeningStep, swapped[first] as OpeningStep];
      const names = `${openingSteps[first]?.name} and ${openingSteps[second]?.name}`;
      test(`misses something with ${names} swapped`, async () => {
        const { missing, refused } = await open(swapped);
        assert.ok(missing.length > 0 || refused !== undefined, 'nothing was noticed');
      });
    }
  }

  test('lets the first command escape when it goes before it watches: no record of the shell’s exec', async () => {
    const order = ['journal', 'cgroup', 'launcher', 'go', 'watch', 'announce'];
    const steps = order.map((name) => openingSteps.find((step) => step.name === name) as OpeningStep);
    const { missing, events } = await open(steps);
    assert.ok(missing.includes('go without watch'));
    assert.equal(events.some(shellExec), false, 'the exec was over before anybody looked');
  });
});
