// From what a person typed to one registered node. Pure. A proxy reaches nodes of the cluster and nothing else: the
// address dialled always comes from the node's own resource, never from the request.
import type { NodeDocument } from '@sallyport/contracts/api/resources.ts';
import { parseAddress } from '../config/address.ts';

export interface Target {
  readonly host: string;
  /** As asked for. Meaningful only to choose between nodes at one address. */
  readonly port: number;
}

export type Resolution =
  | { readonly ok: true; readonly node: NodeDocument }
  /** The text goes to the person. */
  | { readonly ok: false; readonly text: string };

// What clients ask for when nobody named a port: tsh 0, ssh 22, the documented system 3022.
const anyPorts = new Set([0, 22, 3022]);
const maxNamed = 5;

export function resolveNode(target: Target, nodes: readonly NodeDocument[], clusterName: string): Resolution {
  const asked = target.host.toLowerCase();
  const suffix = `.${clusterName.toLowerCase()}`;
  const bare = asked.endsWith(suffix) ? asked.slice(0, -suffix.length) : asked;
  const found = narrow(
    nodes.filter((node) => isNamed(node, asked) || isNamed(node, bare)),
    target.port,
  );
  const [node] = found;
  if (node === undefined) {
    return { ok: false, text: `no node "${target.host}" is connected to the cluster` };
  }
  if (found.length > 1) return { ok: false, text: ambiguity(target.host, found) };
  return { ok: true, node };
}

function isNamed({ metadata, spec }: NodeDocument, name: string): boolean {
  return metadata.name === name || spec.hostname.toLowerCase() === name || hostOf(spec.addr) === name;
}

/** A port that one of them listens on decides; one that nobody knows only fits when it is nobody's choice. */
function narrow(nodes: readonly NodeDocument[], port: number): readonly NodeDocument[] {
  const listening = nodes.filter(({ spec }) => portOf(spec.addr) === port);
  if (listening.length > 0) return listening;
  // A node behind a tunnel has no port of its own.
  return anyPorts.has(port) ? nodes : nodes.filter(({ spec }) => spec.addr === undefined);
}

function ambiguity(host: string, nodes: readonly NodeDocument[]): string {
  const named = nodes
    .slice(0, maxNamed)
    .map(({ metadata, spec }) => `${metadata.name} (${spec.addr ?? 'by tunnel'})`);
  const more = nodes.length > maxNamed ? ` and ${nodes.length - maxNamed} more` : '';
  return `"${host}" is the name of ${nodes.length} nodes; use one of ${named.join(', ')}${more}`;
}

function hostOf(addr: string | undefined): string | undefined {
  return addr === undefined ? undefined : parseAddress(addr, 0)?.host.toLowerCase();
}

function portOf(addr: string | undefined): number | undefined {
  return addr === undefined ? undefined : parseAddress(addr, 0)?.port;
}
