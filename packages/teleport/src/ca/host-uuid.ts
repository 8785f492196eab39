// The name of a host that no other host has and that it keeps for life.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createPrivateFile, readPrivateFile } from './private-file.ts';

/** `<data_dir>/host_uuid`, made once. */
export async function openHostUuid(dataDir: string): Promise<string> {
  const path = join(dataDir, 'host_uuid');
  const existing = await readPrivateFile(path);
  if (existing !== undefined) return existing.trim();
  await createPrivateFile(path, `${randomUUID()}\n`);
  // Ours, or that of whoever was first.
  return openHostUuid(dataDir);
}
