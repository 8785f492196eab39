import assert from 'node:assert/strict';
import { test } from 'node:test';
import { staticHostUserDocument } from '@sallyport/contracts/api/resources.ts';
import { staticHostUsers } from './static-host-user.ts';

const document = (name: string, ...matchers: object[]) =>
  staticHostUserDocument.parse({ kind: 'static_host_user', metadata: { name }, spec: { matchers } });
const env = (...values: string[]) => ({ node_labels: [{ name: 'env', values }] });

test('a node has those whose labels select it, and none that two matchers mean', () => {
  const documents = [
    document('deploy', { ...env('prod'), groups: ['docker'], uid: 4000, default_shell: '/bin/sh' }),
    document('elsewhere', env('dev')),
    document('twice', env('prod'), { node_labels: [{ name: '*', values: ['*'] }] }),
  ];
  const { wanted, ambiguous } = staticHostUsers(documents, { labels: { env: 'prod' } });
  assert.deepEqual(wanted, [
    {
      ...{ login: 'deploy', groups: ['docker'], sudoers: [], shell: '/bin/sh' },
      ...{ uid: 4000, gid: undefined, takesOver: false },
    },
  ]);
  assert.deepEqual(ambiguous, ['twice']);
  const unknownLabels = new Set(['env']);
  assert.deepEqual(staticHostUsers(documents, { labels: { env: 'prod' }, unknownLabels }).wanted, []);
});

test('names that are no account’s, root’s number and lines that are two are refused', () => {
  const refused = (name: string, matcher: object) => assert.throws(() => document(name, matcher));
  refused('-r', env('prod'));
  refused('Ada', env('prod'));
  refused('ada', { ...env('prod'), uid: 0 });
  refused('ada', { ...env('prod'), sudoers: ['ALL=ALL\nroot ALL=ALL'] });
  refused('ada', { node_labels: [] });
});
