// `tctl sessions ls`: every live session of the cluster.
import { printSessions, type SessionListFlags } from '../session-list.ts';
import { withCluster } from './cluster.ts';

export async function sessionsAction(config: string | undefined, flags: SessionListFlags): Promise<void> {
  await withCluster(config, async ({ client }) => {
    const { sessions } = await client.listSessions({});
    await printSessions(sessions, flags);
  });
}
