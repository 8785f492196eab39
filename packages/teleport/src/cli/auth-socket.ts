// Where the daemon listens for the administrator of its host: a file that only root may open.
import { join } from 'node:path';

export const authSocketPath = (dataDir: string) => join(dataDir, 'auth.sock');
