import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AppError } from '@sallyport/contracts/errors.ts';
import { parseClone } from './clone-yaml.ts';

const problems = (yaml: string): string[] => {
  try {
    parseClone(yaml, 'f');
  } catch (error) {
    return (error as AppError).message.split('\n');
  }
  return [];
};

test('a clone.yaml as it is documented is read', () => {
  const yaml = `
src: { type: sqlite, path: /var/lib/teleport }
dst: { type: postgresql, conn_string: "postgresql://u@h/d" }
parallel: 100
force: false
audit_events: { src: "file:///var/lib/teleport/log", dst: "postgresql://u@h/d" }
`;
  assert.deepEqual(parseClone(yaml, 'f'), {
    src: { type: 'sqlite', path: '/var/lib/teleport' },
    dst: { type: 'postgresql', connString: 'postgresql://u@h/d' },
    parallel: 100,
    force: false,
    auditEvents: { src: 'file:///var/lib/teleport/log', dst: 'postgresql://u@h/d' },
  });
});

test('what is missing, foreign or the wrong way round is told with its place', () => {
  assert.deepEqual(problems('src: { type: sqlite }\ndst: { type: postgresql, path: /x }\n'), [
    'f:1:1: src needs path, its type being sqlite',
    'f:2:1: dst needs conn_string, its type being postgresql',
    'f:2:26: dst.path is not a key of type postgresql',
  ]);
  const same = 'src: { type: sqlite, path: /x }\ndst: { type: sqlite, path: /x }\n';
  assert.deepEqual(problems(same), ['f:2:1: dst is src']);
  assert.deepEqual(problems(`${same.replace('/x }', '/y }')}audit_events: { src: "postgresql://u@h/d" }\n`), [
    'f:3:1: audit_events needs src: file:///FOLDER and dst: postgresql://…',
  ]);
  assert.deepEqual(problems('source: {}\n')[0], 'f:1:1: unknown key "source"; did you mean "force"?');
});
