import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pamEnvironment } from './pam-environment.ts';

const alice = {
  user: 'alice',
  login: 'ubuntu',
  roles: ['access', 'dba'],
  traits: { email: ['a@example.com'], team: ['red', 'blue'], none: [] },
};

test('PAM modules are told who logs in', () => {
  assert.deepEqual(pamEnvironment({}, alice), {
    variables: { TELEPORT_USERNAME: 'alice', TELEPORT_LOGIN: 'ubuntu', TELEPORT_ROLES: 'access dba' },
    missing: [],
  });
});

test('traits are filled in; a variable whose trait the user lacks is left out', () => {
  const configured = {
    PLAIN: 'x',
    MAIL: 'mail={{external.email}}',
    TEAMS: '{{ internal.team }}',
    EMPTY: '{{external.none}}',
    LACKS: '{{external.phone}}',
    PROTO: '{{external.constructor}}',
  };
  const { variables, missing } = pamEnvironment(configured, alice);
  assert.deepEqual(
    [variables['PLAIN'], variables['MAIL'], variables['TEAMS']],
    ['x', 'mail=a@example.com', 'red,blue'],
  );
  assert.deepEqual(missing, ['EMPTY', 'LACKS', 'PROTO']);
});
