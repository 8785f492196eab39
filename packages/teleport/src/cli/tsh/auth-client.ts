// The API of the auth service as the person of a profile.
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { type Client, createClient } from '@sallyport/contracts/api/client.ts';
import { productVersion } from '../version.ts';
import { authTransport } from './auth-transport.ts';
import type { Profile } from './profile.ts';

export interface AuthSession {
  readonly client: Client<typeof authRoutes>;
  close(): void;
}

export async function authClient(profile: Profile): Promise<AuthSession> {
  const transport = await authTransport(profile);
  const headers = { 'x-sallyport-version': productVersion() };
  return { client: createClient(authRoutes, transport, headers), close: () => transport.close() };
}
