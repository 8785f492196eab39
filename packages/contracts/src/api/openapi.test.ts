import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { authRoutes } from './auth-routes.ts';
import { openApiOf } from './openapi.ts';
import { webRoutes } from './web-routes.ts';

const api = openApiOf(
  [
    { name: 'auth', routes: authRoutes },
    { name: 'web', routes: webRoutes },
  ],
  '1.0.0',
);

describe('the OpenAPI document', () => {
  it('has every route once', () => {
    const operations = Object.values(api.paths).flatMap((methods) => Object.values(methods));
    const ids = operations.map(({ operationId }) => operationId);
    const expected = [
      ...Object.keys(authRoutes).map((name) => `auth.${name}`),
      ...Object.keys(webRoutes).map((name) => `web.${name}`),
    ];
    assert.deepEqual(ids.toSorted(), expected.toSorted());
  });

  it('refers to nothing that is not in it', () => {
    const refs = JSON.stringify(api).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g);
    for (const [, id = ''] of refs) assert.ok(id in api.components.schemas, id);
  });

  it('names the parameters of a path as the path does', () => {
    for (const [path, methods] of Object.entries(api.paths)) {
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      for (const { parameters = [] } of Object.values(methods)) {
        const inPath = parameters.filter((one) => one.in === 'path').map(({ name }) => name);
        assert.deepEqual(inPath.toSorted(), named.toSorted(), path);
      }
    }
  });

  it('describes what crosses the wire: text where a query holds a number', () => {
    const search = api.paths['/v1/events']?.['get'];
    const limit = search?.parameters?.find(({ name }) => name === 'limit');
    assert.equal(limit?.schema.type, 'string');
    assert.equal(limit?.required, false);
  });
});
