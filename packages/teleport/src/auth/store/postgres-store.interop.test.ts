import { after, before } from 'node:test';
import { PostgresServer } from '../../postgres/postgres.fixture.ts';
import { PostgresStore, type PostgresStoreOptions } from './postgres-store.ts';
import { storeContract } from './store.contract.ts';

let server: PostgresServer;
const opened: PostgresStore[] = [];
before(async () => {
  server = await PostgresServer.start();
});
after(async () => {
  await Promise.all(opened.map((store) => store.close()));
  await server.close();
});

async function place() {
  const schema = server.freshName();
  let clock = Date.UTC(2026, 2, 1);
  return {
    schema,
    now: () => new Date(clock),
    advance: (ms: number) => {
      clock += ms;
    },
    open: async (more: PostgresStoreOptions = {}) => {
      const store = await PostgresStore.open(server.address(), {
        now: () => new Date(clock),
        schema,
        sweepMs: 5,
        limits: { connections: 2 },
        ...more,
      });
      opened.push(store);
      return store;
    },
  };
}

storeContract('PostgresStore', place);
