// A route table as an OpenAPI 3.1 document, whose schemas are JSON Schema 2020-12: for whoever calls the API with
// tools of their own, and for the reference page.
import { z } from 'zod';
import { authRoutes } from './auth-routes.ts';
import * as resources from './resources.ts';
import type { Access, Route } from './route.ts';
import * as sessions from './session-trackers.ts';

export interface JsonSchema {
  readonly $ref?: string;
  readonly type?: string;
  readonly format?: string;
  readonly pattern?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly required?: readonly string[];
}

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query';
  readonly required: boolean;
  readonly schema: JsonSchema;
}

interface Content {
  readonly content: Readonly<Record<string, { readonly schema: JsonSchema }>>;
}

export interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly tags: readonly string[];
  /** Who may call it, in words. */
  readonly description: string;
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: Content & { readonly required: true };
  readonly responses: Readonly<Record<string, Content & { readonly description: string }>>;
}

export interface OpenApi {
  readonly openapi: '3.1.0';
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, JsonSchema>>;
    readonly securitySchemes: Readonly<Record<string, object>>;
  };
}

export interface Table {
  /** Tag of its operations. */
  readonly name: string;
  readonly routes: Readonly<Record<string, Route>>;
}

/** Shapes that several routes share, under the names readers know them by. */
const shared: Readonly<Record<string, z.ZodType>> = {
  Resource: resources.resourceDocument,
  Role: resources.roleDocument,
  User: resources.userDocument,
  Token: resources.tokenDocument,
  Lock: resources.lockDocument,
  Node: resources.nodeDocument,
  Proxy: resources.proxyDocument,
  CertAuthority: resources.certAuthorityDocument,
  Trust: authRoutes.trust.result,
  SessionReport: sessions.sessionReport,
  SessionTracker: sessions.sessionTracker,
  UserCertificates: authRoutes.logIn.result,
};

const error = z.strictObject({
  error: z.strictObject({
    message: z.string(),
    code: z.string(),
    kind: z.string(),
    hint: z.string().optional(),
    request_id: z.string().optional(),
  }),
});

export function openApiOf(tables: readonly Table[], version: string): OpenApi {
  const schemas = schemasOf(tables);
  const paths: Record<string, Record<string, Operation>> = {};
  for (const { name: tag, routes } of tables) {
    for (const [name, route] of Object.entries(routes)) {
      const path = route.path.replace(/:([A-Za-z]+)/g, '{$1}');
      paths[path] = {
        ...paths[path],
        [route.method.toLowerCase()]: operationOf(tag, name, route, schemas),
      };
    }
  }
  // A part of a route stands in its operation; one that others refer to must be found among the shapes as well.
  const written = JSON.stringify([paths, schemas]);
  const used = Object.entries(schemas).filter(
    ([id]) => !id.includes('.') || written.includes(`"#/components/schemas/${id}"`),
  );
  return {
    openapi: '3.1.0',
    info: { title: 'Sallyport', version, description: 'The API of the auth service and of the proxy.' },
    paths,
    components: {
      schemas: Object.fromEntries(used),
      securitySchemes: {
        mutualTls: {
          type: 'mutualTLS',
          description: 'A certificate of the cluster, of a host or of a user.',
        },
      },
    },
  };
}

/** Every part of every route, under `table.route.part`, and the shared shapes they refer to. */
function schemasOf(tables: readonly Table[]): Record<string, JsonSchema> {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(shared)) registry.add(schema, { id });
  registry.add(error, { id: 'Error' });
  const ids = new Map<z.ZodType, string>([...Object.entries(shared)].map(([id, schema]) => [schema, id]));
  const again: [id: string, of: string][] = [];
  for (const { name: table, routes } of tables) {
    for (const [name, route] of Object.entries(routes)) {
      for (const part of ['params', 'query', 'body', 'result'] as const) {
        const schema = route[part];
        if (schema === undefined) continue;
        const id = `${table}.${name}.${part}`;
        const known = ids.get(schema);
        if (known !== undefined) {
          again.push([id, known]);
          continue;
        }
        ids.set(schema, id);
        registry.add(schema, { id });
      }
    }
  }
  const made = z.toJSONSchema(registry, {
    // What crosses the wire; the values that a schema makes of it are the server's business.
    io: 'input',
    unrepresentable: 'any',
    uri: (id) => `#/components/schemas/${id}`,
    override: ({ jsonSchema }) => simplify(jsonSchema),
  }).schemas as Record<string, JsonSchema & { $schema?: string; $id?: string }>;
  const clean = Object.entries(made).map(([id, { $schema: _, $id: __, ...schema }]) => [id, schema] as const);
  const schemas: Record<string, JsonSchema> = Object.fromEntries(clean);
  for (const [id, of] of again) schemas[id] = of.includes('.') ? (schemas[of] ?? {}) : refTo(of);
  return schemas;
}

const refTo = (id: string): JsonSchema => ({ $ref: `#/components/schemas/${id}` });

/** What says nothing to a reader: the expression behind a format, the bounds of any JavaScript integer. */
function simplify(schema: z.core.JSONSchema.BaseSchema): void {
  if (schema.format !== undefined) delete schema.pattern;
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
}

function operationOf(
  tag: string,
  name: string,
  route: Route,
  schemas: Readonly<Record<string, JsonSchema>>,
): Operation {
  const part = (which: string) => schemas[`${tag}.${name}.${which}`];
  const parameters = [...parametersOf('path', part('params')), ...parametersOf('query', part('query'))];
  const body = part('body');
  const type = route.stream === true ? 'application/x-ndjson' : 'application/json';
  return {
    operationId: `${tag}.${name}`,
    summary: route.summary,
    tags: [tag],
    description: accessText(route.access),
    security: route.access === 'anyone' ? [] : [{ mutualTls: [] }],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: { 'application/json': { schema: body } } } }),
    responses: {
      '200': {
        description: route.stream === true ? 'JSON lines, until either side hangs up.' : 'The result.',
        content: { [type]: { schema: part('result') ?? {} } },
      },
      default: {
        description: 'What went wrong.',
        content: { 'application/json': { schema: refTo('Error') } },
      },
    },
  };
}

function parametersOf(where: 'path' | 'query', schema: JsonSchema | undefined): Parameter[] {
  return Object.entries(schema?.properties ?? {}).map(([name, of]) => ({
    name,
    in: where,
    required: where === 'path' || schema?.required?.includes(name) === true,
    schema: of,
  }));
}

/** Who may call a route, as a sentence. The administrator of the auth host may always. */
export function accessText(access: Access): string {
  if (access === 'anyone') return 'Anyone may call it, without a certificate; slowed by address.';
  const { host, user } = access;
  const callers: string[] = [];
  if (host === true) callers.push('hosts of the cluster');
  else if (host !== undefined) callers.push(`hosts with the role ${host.join(' or ')}`);
  if (user === true) callers.push('users');
  else if (user !== undefined) callers.push(`users whose roles allow ${user.verb} on ${user.resource}`);
  return `For ${callers.length === 0 ? 'the administrator of the auth host only' : callers.join(' and ')}.`;
}
