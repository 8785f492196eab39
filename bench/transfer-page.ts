/** The section of the benchmark page on bulk. */
import { peers } from './peers.ts';
import { median } from './statistics.ts';
import type { TransferFigures } from './transfer.ts';

const heading = '## Bulk';

/** In place of the section of an earlier run, else behind everything. */
export function withTransferSection(page: string, section: string): string {
  const at = page.indexOf(`${heading}\n`);
  if (at < 0) return `${page.trimEnd()}\n\n${section}`;
  const next = page.indexOf('\n## ', at + heading.length);
  return `${page.slice(0, at).trimEnd()}\n\n${section}${next < 0 ? '' : page.slice(next)}`;
}

export function transferSection(machine: string, { rounds, mebibytes, rate }: TransferFigures): string {
  const lines = Object.entries(rate).map(([name, rates]) => {
    const [ours, theirs] = [median(rates.sallyport), median(rates.sshd)];
    const ratio = ours / theirs;
    const verdict = `≥ sshd: **${ratio >= 1 ? 'met' : 'missed'}**`;
    return `| ${name} | ${ours.toFixed(0)} MB/s | ${theirs.toFixed(0)} MB/s | ×${ratio.toFixed(2)} | ${verdict} |`;
  });
  const raw = Object.entries(rate).flatMap(([name, rates]) =>
    peers.map((peer) => `${peer}, ${name}, MB/s: ${rates[peer].map((value) => value.toFixed(0)).join(' ')}`),
  );
  return `${heading}

Machine: ${machine}. ${mebibytes} MiB (an eighth of it on a terminal) through a session that records commands, files and
connections, against OpenSSH's sshd in the same run: the same client (OpenSSH's), account and cipher (aes128-gcm), files in memory, ${rounds} rounds in
alternating order, medians; before them each way once, its bytes compared.
What a command puts out is recorded, and written to disk on the way; the contents of files copied by sftp are not.

| P11 | Sallyport | sshd | ratio | target |
|---|---|---|---|---|
${lines.join('\n')}

<details><summary>Raw figures</summary>

\`\`\`
${raw.join('\n')}
\`\`\`

</details>
`;
}
