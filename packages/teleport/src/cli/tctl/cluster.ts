// The cluster as tctl's commands use it: the typed API, whichever way it is reached.
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { type Client, createClient } from '@sallyport/contracts/api/client.ts';
import { type WayToAuth, withWayToAuth } from './way-to-auth.ts';

export type AuthClient = Client<typeof authRoutes>;

export interface ClusterSession extends Pick<WayToAuth, 'config' | 'upstream'> {
  readonly client: AuthClient;
}

/** Connects, does the work, and lets go whatever happened. */
export function withCluster<T>(
  configPath: string | undefined,
  work: (cluster: ClusterSession) => Promise<T>,
): Promise<T> {
  return withWayToAuth(configPath, ({ transport, headers, config, upstream }) =>
    work({ client: createClient(authRoutes, transport, headers), config, upstream }),
  );
}
