import { NoKernel } from './no-kernel.ts';
import { recorderContract } from './recorder.contract.ts';

recorderContract('without a kernel', {
  connect: async () => new NoKernel(),
  request: async () => ({
    cgroupId: 1n,
    auditSessionId: undefined,
    leaderPid: process.pid,
    supervisorPid: 0,
    kinds: ['command'],
    policy: 'best_effort',
  }),
});
