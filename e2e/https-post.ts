// A POST as a person's program makes it, on a connection of its own.
import { request } from 'node:https';

export interface PostOptions {
  readonly type: string;
  /** Local address to come from; default: the system's choice. */
  readonly from?: string;
}

export function httpsPost(
  url: string,
  body: string,
  { type, from }: PostOptions,
): Promise<{ status: number; text: string }> {
  return new Promise((done, fail) => {
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(body) };
    const place = from === undefined ? {} : { localAddress: from };
    // The proxy's own certificate: who it is does not matter here, how it answers does.
    const options = { method: 'POST', headers, ...place, rejectUnauthorized: false, agent: false };
    const outgoing = request(url, options, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      answer.on('end', () => done({ status: answer.statusCode ?? 0, text }));
    });
    outgoing.on('error', fail);
    outgoing.end(body);
  });
}
