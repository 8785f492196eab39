// `tsh scp`: files to and from nodes, by SFTP. Exit code 1 when anything was not copied; the rest was.
import { AppError, describeError } from '@sallyport/contracts/errors.ts';
import { SftpClient } from '../../ssh-transport/sftp/client.ts';
import { notice, styled, visible } from '../output.ts';
import { connectNode, type NodeLink, nodeAddress } from './connect-node.ts';
import { Copy, type Side } from './copy/copy.ts';
import { LocalTree } from './copy/local-tree.ts';
import { type Place, parsePlace, type RemotePlace } from './copy/place.ts';
import { Progress } from './copy/progress.ts';
import { RemoteTree } from './copy/remote-tree.ts';
import type { Tree } from './copy/tree.ts';
import { expandWildcards } from './copy/wildcards.ts';
import { type Profile, requireProfile } from './profile.ts';
import { defaultLogin, explain } from './ssh-command.ts';

export interface ScpFlags {
  readonly proxy?: string;
  readonly port?: number;
  readonly recursive: boolean;
  readonly preserve: boolean;
  readonly quiet: boolean;
  readonly resume: boolean;
}

export async function scpAction(places: readonly string[], flags: ScpFlags): Promise<void> {
  const target = parsePlace(places.at(-1) ?? '');
  const sources = places.slice(0, -1).map(parsePlace);
  checkPlaces(sources, target);
  const profile = await requireProfile(flags.proxy);
  const nodes = new Nodes(profile, flags.port);
  try {
    const ok = await copyAll(nodes, sources, target, flags);
    if (!ok) process.exitCode = 1;
  } finally {
    nodes.close();
  }
}

function checkPlaces(sources: readonly Place[], target: Place): void {
  if (sources.length === 0) {
    throw new AppError(
      'bad_input',
      'tsh.scp_places',
      'Where from and where to? At least two places are needed.',
      {
        hint: '`tsh scp FILE NODE:PATH` or `tsh scp NODE:PATH FILE`.',
      },
    );
  }
  const remote = sources.filter((place) => 'remote' in place).length;
  if (remote > 0 && 'remote' in target) {
    throw new AppError('unsupported', 'tsh.scp_between', 'Files are not copied from node to node.', {
      hint: 'Copy them here first, and from here on.',
    });
  }
  if (remote === 0 && !('remote' in target)) {
    throw new AppError('bad_input', 'tsh.scp_local', 'None of these places is on a node.', {
      hint: 'A place on a node is `[login@]node:path`.',
    });
  }
}

async function copyAll(
  nodes: Nodes,
  sources: readonly Place[],
  target: Place,
  { recursive, preserve, resume, quiet }: ScpFlags,
): Promise<boolean> {
  let ok = true;
  const failed = (path: string, error: AppError) => {
    ok = false;
    const reason = describeError(error).replace(/\.$/, '');
    notice(`${styled('red', 'ERROR:', process.stderr)} ${visible(path)}: ${reason}`);
  };
  const bar = !quiet && process.stdout.isTTY === true ? new Progress(process.stdout) : undefined;
  const silent = { moved: () => {}, end: () => {} };
  const begin = (path: string, size: number) => bar?.begin(path, size) ?? silent;
  const copy = new Copy({ recursive, preserve, resume, begin, failed });
  const to = await nodes.side(target);
  const from: Side[] = [];
  for (const source of sources) {
    const side = await nodes.side(source);
    const found = await expandWildcards(side.tree, side.path);
    if (found.length === 0)
      failed(side.shown, new AppError('not_found', 'tsh.no_file', 'No file is meant by it'));
    for (const path of found) from.push({ ...side, path, shown: side.prefix + path });
  }
  const into = (await to.tree.look(to.path))?.kind === 'folder';
  if (!into && (from.length > 1 || /\/$/.test(to.path))) {
    failed(to.shown, new AppError('not_found', 'tsh.no_folder', 'No such directory'));
    return false;
  }
  for (const side of from) await copy.run(side, to, into);
  return ok;
}

interface PrefixedSide extends Side {
  readonly prefix: string;
}

/** A connection a node and login, made when it is needed for the first time. */
class Nodes {
  readonly #profile: Profile;
  readonly #port: number | undefined;
  readonly #local = new LocalTree();
  readonly #links: NodeLink[] = [];
  readonly #trees = new Map<string, Promise<Tree>>();

  constructor(profile: Profile, port: number | undefined) {
    this.#profile = profile;
    this.#port = port;
  }

  async side(place: Place): Promise<PrefixedSide> {
    if ('local' in place) return { tree: this.#local, path: place.local, shown: place.local, prefix: '' };
    const { node, path } = place.remote;
    const prefix = `${node}:`;
    return { tree: await this.#tree(place.remote), path: path || '.', shown: prefix + path, prefix };
  }

  close(): void {
    for (const link of this.#links) link.close();
  }

  #tree({ login = defaultLogin(this.#profile), node }: RemotePlace): Promise<Tree> {
    const key = `${login}@${node}`;
    const known = this.#trees.get(key) ?? this.#connect(login, node);
    this.#trees.set(key, known);
    return known;
  }

  async #connect(login: string, node: string): Promise<Tree> {
    const address = nodeAddress(node, this.#port);
    const link = await connectNode(this.#profile, address, login).catch((thrown) => {
      throw explain(AppError.from(thrown), login, address.host);
    });
    this.#links.push(link);
    const session = await link.client.openSession();
    const said: Buffer[] = [];
    session.stderr.on('data', (bytes: Buffer) => {
      if (said.length < 16) said.push(bytes);
    });
    if (!(await session.subsystem('sftp'))) throw noSftp(address.host, 'it has no sftp');
    const sftp = await SftpClient.open(session).catch((thrown) => {
      // What the node has to say of it says more than that it ended.
      const words = visible(Buffer.concat(said).toString().trim());
      throw words === '' ? thrown : noSftp(address.host, words);
    });
    return new RemoteTree(sftp);
  }
}

function noSftp(host: string, reason: string): AppError {
  const text = reason.replace(/\.+$/, '');
  return new AppError('denied', 'tsh.no_file_copy', `${host} serves no files: ${text}.`);
}
