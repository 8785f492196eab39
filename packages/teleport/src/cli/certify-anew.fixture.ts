import { readFile, writeFile } from 'node:fs/promises';
import { issueCertificate } from '../ca/issue.ts';
import { optionText, parseCertificate } from '../ca/parse-certificate.ts';
import { parsePublicKeyLine, publicKeyLine } from '../ca/public-key.ts';
import { loadConfig } from '../config/load-config.ts';
import { openAuthorities } from './auth-core.ts';

/**
 * The user's certificate in the file again, by the cluster that `yaml` configures, with a life shorter than auth would
 * give.
 */
export async function certifyAnew(path: string, yaml: string, ttlMs: number): Promise<void> {
  const { keyId, publicKey, principals, extensions } = parseCertificate(
    parsePublicKeyLine(await readFile(path, 'utf8')),
  );
  const { ssh } = (await openAuthorities(loadConfig(yaml).config, false)).active('user');
  const texts = [...extensions].map(([name, data]) => [
    name,
    data.length === 0 ? '' : optionText(data, name),
  ]);
  const now = Date.now();
  const blob = await issueCertificate(ssh, {
    ...{ type: 'user', keyId, publicKey, principals, extensions: Object.fromEntries(texts) },
    validAfter: new Date(now - 60_000),
    validBefore: new Date(now + ttlMs),
  });
  await writeFile(path, `${publicKeyLine(blob)}\n`);
}
