// clone.yaml of `teleport backend clone`: from which store to which. Read as strictly as teleport.yaml.
import { readFile } from 'node:fs/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import { bool, databaseUri, eventsUri, integer, oneOf, path, section } from './schema.ts';
import { type Position, YamlReader } from './yaml-reader.ts';

export type ClonedBackend =
  | { readonly type: 'sqlite'; readonly path: string }
  | { readonly type: 'postgresql'; readonly connString: string };

export interface CloneConfig {
  readonly src: ClonedBackend;
  readonly dst: ClonedBackend;
  /** Commits on their way at once. */
  readonly parallel: number;
  /** Also into a store that holds something: what is there under the same key is replaced. */
  readonly force: boolean;
  /** Events to be moved as well: from the folder of day files, into the database. */
  readonly auditEvents: { readonly src: string; readonly dst: string } | undefined;
}

const none = undefined;
const backend = (doc: string) =>
  section(
    {
      type: oneOf(['sqlite', 'postgresql'], { default: 'sqlite', doc: 'Kind of the store.' }),
      path: path({ default: none, doc: 'Of `sqlite`: the `data_dir` it is in.' }),
      conn_string: databaseUri({ default: none, doc: 'Of `postgresql`, as in teleport.yaml.' }),
    },
    { doc },
  );

const cloneYaml = section(
  {
    src: backend('The store that is read.'),
    dst: backend('The store that is written.'),
    parallel: integer({ default: 4, min: 1, max: 100, doc: 'Commits on their way at once.' }),
    force: bool({ default: false, doc: 'Write into a store that is not empty.' }),
    audit_events: section(
      {
        src: eventsUri({ default: none, doc: 'The folder of day files, `file:///var/lib/teleport/log`.' }),
        dst: eventsUri({ default: none, doc: 'The database the events go to.' }),
      },
      { doc: 'Events to move as well.' },
    ),
  },
  { doc: 'What is cloned.' },
);

type Raw = ReturnType<typeof cloneYaml.read>;

export async function loadCloneFile(file: string): Promise<CloneConfig> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new AppError('not_found', 'config.unreadable', `${file} cannot be read.`, { cause });
  });
  return parseClone(text, file);
}

export function parseClone(text: string, source: string): CloneConfig {
  const reader = new YamlReader(text, source);
  const { root } = reader;
  const raw = cloneYaml.read(root, { reader, path: '', anchor: root });
  const given = (key: string): Position => reader.given.get(key) ?? { line: 1, column: 1 };
  const src = toBackend(raw.src, 'src', reader, given);
  const dst = toBackend(raw.dst, 'dst', reader, given);
  if (JSON.stringify(src) === JSON.stringify(dst)) reader.problem(given('dst'), 'dst is src');
  const { src: from, dst: to } = raw.audit_events;
  if (reader.given.has('audit_events') && !(from?.startsWith('file:') && to?.startsWith('postgres')))
    reader.problem(given('audit_events'), 'audit_events needs src: file:///FOLDER and dst: postgresql://…');
  reader.finish();
  return {
    src,
    dst,
    parallel: raw.parallel,
    force: raw.force,
    auditEvents: from === undefined || to === undefined ? undefined : { src: from, dst: to },
  };
}

function toBackend(
  { type, path: folder, conn_string: connString }: Raw['src'],
  name: string,
  reader: YamlReader,
  given: (key: string) => Position,
): ClonedBackend {
  const [needed, foreign] = type === 'sqlite' ? ['path', 'conn_string'] : ['conn_string', 'path'];
  if (reader.given.has(`${name}.${foreign}`))
    reader.problem(given(`${name}.${foreign}`), `${name}.${foreign} is not a key of type ${type}`);
  if (!reader.given.has(`${name}.${needed}`))
    reader.problem(given(name), `${name} needs ${needed}, its type being ${type}`);
  return type === 'sqlite' ? { type, path: folder ?? '' } : { type, connString: connString ?? '' };
}
