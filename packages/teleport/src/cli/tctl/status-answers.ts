// What `tctl status` reads of three answers of the auth service, checked by hand: making the API's schemas would take
// twice as long as everything else of it. status-answers.test.ts holds the paths and the shapes against the API's own.
import type { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { ask, badAnswer } from '@sallyport/contracts/api/client.ts';
import type { AuthServerDocument, CertAuthorityDocument } from '@sallyport/contracts/api/resources.ts';
import type { ResultOf } from '@sallyport/contracts/api/route.ts';
import type { WayToAuth } from './way-to-auth.ts';

type Status = Pick<ResultOf<typeof authRoutes.ping>, 'cluster_name' | 'version' | 'ca_pins'>;
type Authority = Pick<CertAuthorityDocument['spec'], 'type' | 'ssh' | 'rotation'>;
type Server = { readonly uuid: string } & Pick<AuthServerDocument['spec'], 'hostname' | 'addr' | 'version'>;
type Way = Pick<WayToAuth, 'transport' | 'headers'>;

export const pingPath = '/v1/ping';
export const listPath = (kind: 'cert_authority' | 'auth_server') => `/v1/resources/${kind}`;

export async function readStatus(way: Way): Promise<Status> {
  const answer = new Answer(pingPath, await ask(way.transport, pingPath, way.headers));
  return {
    cluster_name: answer.text('cluster_name'),
    version: answer.text('version'),
    ca_pins: answer.texts('ca_pins'),
  };
}

export async function readAuthorities(way: Way): Promise<Authority[]> {
  const specs = (await resources(way, 'cert_authority')).map((resource) => resource.part('spec'));
  return specs.map((spec) => ({
    type: spec.oneOf('type', ['host', 'user']),
    ssh: spec.texts('ssh'),
    rotation: {
      phase: spec
        .part('rotation')
        .oneOf('phase', ['standby', 'init', 'update_clients', 'update_servers', 'rollback']),
    },
  }));
}

/** Those whose heartbeats arrive; none where the daemon does not run. */
export async function readServers(way: Way): Promise<Server[]> {
  const found = await resources(way, 'auth_server');
  return found.map((resource) => ({
    uuid: resource.part('metadata').text('name'),
    hostname: resource.part('spec').text('hostname'),
    addr: resource.part('spec').text('addr'),
    version: resource.part('spec').text('version'),
  }));
}

async function resources(way: Way, kind: 'cert_authority' | 'auth_server'): Promise<Answer[]> {
  const path = listPath(kind);
  const found = new Answer(path, await ask(way.transport, path, way.headers)).list('resources');
  for (const resource of found) resource.oneOf('kind', [kind]);
  return found;
}

/** An object of an answer: gives what is of the shape that was asked for, and refuses the answer otherwise. */
class Answer {
  readonly #path: string;
  readonly #value: object;

  constructor(path: string, value: unknown) {
    if (typeof value !== 'object' || value === null) throw badAnswer(`GET ${path}`);
    this.#path = path;
    this.#value = value;
  }

  text(name: string): string {
    const value = this.#at(name);
    return typeof value === 'string' ? value : this.#refuse();
  }

  oneOf<const T extends string>(name: string, known: readonly T[]): T {
    const value = this.#at(name);
    return known.find((each) => each === value) ?? this.#refuse();
  }

  texts(name: string): string[] {
    const values = this.#array(name);
    return values.map((value) => (typeof value === 'string' ? value : this.#refuse()));
  }

  part(name: string): Answer {
    return new Answer(this.#path, this.#at(name));
  }

  list(name: string): Answer[] {
    return this.#array(name).map((value) => new Answer(this.#path, value));
  }

  #array(name: string): readonly unknown[] {
    const value = this.#at(name);
    return Array.isArray(value) ? value : this.#refuse();
  }

  #at(name: string): unknown {
    return Object.hasOwn(this.#value, name) ? (this.#value as Record<string, unknown>)[name] : undefined;
  }

  #refuse(): never {
    throw badAnswer(`GET ${this.#path}`);
  }
}
