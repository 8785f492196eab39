// What every place for authorities does, whatever it is.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { until } from '../until.fixture.ts';
import { Authorities } from './authorities.ts';
import type { AuthorityVault, VaultOrder } from './authority-vault.ts';

export interface VaultPlace {
  /** Each call stands for one more auth server on the same authorities. */
  open(): AuthorityVault;
  /** Are changes of one server told to the others? */
  readonly shared: boolean;
}

const order = (clusterName = 'prod'): VaultOrder => ({ clusterName, create: true, now: () => new Date() });

export function authorityVaultContract(name: string, fresh: (t: TestContext) => Promise<VaultPlace>): void {
  const it = (sentence: string, body: (place: VaultPlace, t: TestContext) => Promise<void>) =>
    test(`${name}: ${sentence}`, async (t) => body(await fresh(t), t));
  const server = async (place: VaultPlace, t: TestContext) => {
    const authorities = await Authorities.open({ vault: place.open(), ...order() });
    t.after(() => authorities.close());
    return authorities;
  };

  it('of ten that start at once, one makes the authorities and all have them', async (place, t) => {
    const all = await Promise.all(Array.from({ length: 10 }, () => server(place, t)));
    assert.equal(new Set(all.map((each) => JSON.stringify(each.trust()))).size, 1);
    assert.equal(new Set(all.map((each) => each.active('user').ssh.publicKey.toString('hex'))).size, 1);
  });

  it('without leave to make them, missing authorities are an error', async (place) => {
    await assert.rejects(place.open().open({ ...order(), create: false }), { code: 'ca.no_key' });
  });

  it('a cluster keeps its name', async (place, t) => {
    await server(place, t);
    await assert.rejects(place.open().open(order('staging')), {
      code: 'ca.other_cluster',
      message: /"prod", not of "staging"/,
    });
  });

  it('each phase is there for whoever opens it next, and a retired generation is gone', async (place, t) => {
    for (const phase of ['init', 'update_clients', 'update_servers', 'standby'] as const) {
      const authorities = await server(place, t);
      await authorities.rotate('all', phase);
      const again = await server(place, t);
      assert.deepEqual(again.trust(), authorities.trust());
      assert.deepEqual(again.documents(), authorities.documents());
    }
    const { state, keys } = await place.open().open(order());
    assert.deepEqual([state.host.current, state.user.current], ['host_ca-2', 'user_ca-2']);
    assert.deepEqual([...keys.keys()].sort(), ['host_ca-2', 'user_ca-2']);
  });

  it('a step from a state that is no more is refused, and changes nothing', async (place) => {
    const vault = place.open();
    const held = await vault.open(order());
    const host = { phase: 'init' as const, current: 'host_ca', next: 'host_ca-2' };
    await vault.advance(held, { ...held.state, host }, order());
    await assert.rejects(vault.advance(held, { ...held.state, host }, order()), { code: 'ca.raced' });
    assert.deepEqual((await vault.open(order())).state.host, host);
  });

  it('rotations from several servers each happen once, and the others follow', async (place, t) => {
    const [a, b] = [await server(place, t), await server(place, t)];
    const outcomes = await Promise.allSettled([a.rotate('host', 'init'), b.rotate('host', 'init')]);
    if (!place.shared) return;
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
    await Promise.all([a.rotate('user', 'init'), b.rotate('host', 'rollback')]);
    const phases = (each: Authorities) => each.documents().map(({ spec }) => spec.rotation.phase);
    await until(
      'both know both',
      () => phases(a).join() === 'rollback,init' && phases(b).join() === 'rollback,init',
    );
    assert.deepEqual(a.trust(), b.trust());
  });
}
