// What updaters on hosts ask: which version to install, and whether it cannot wait. Every channel follows the cluster's
// own version: agents then are never ahead of what they connect to.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { WebApp } from './web-server.ts';

// Names of the documented system: `default`, `stable/cloud`, `stable/v17`…
const channelName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(\/[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$/;

export function upgradeChannels(version: string): (app: WebApp) => void {
  const answers: Readonly<Record<string, string>> = { version: `v${version}`, critical: 'no' };
  return (app) => {
    for (const prefix of ['', '/v1']) {
      app.get<{ Params: { '*': string } }>(
        `${prefix}/webapi/automaticupgrades/channel/*`,
        async (request, reply) => {
          const path = request.params['*'];
          const slash = path.lastIndexOf('/');
          const answer = answers[path.slice(slash + 1)];
          if (answer === undefined || !channelName.test(path.slice(0, slash))) {
            throw new AppError('not_found', 'proxy.no_channel', 'There is no such upgrade channel.', {
              hint: 'Ask for …/channel/<name>/version or …/channel/<name>/critical.',
            });
          }
          return reply.type('text/plain; charset=utf-8').send(answer);
        },
      );
    }
  };
}
