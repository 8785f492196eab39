// A place with files: here, or on a node. Copying knows no more of either than this.

export type FileKind = 'file' | 'folder' | 'other';

/** What is known of a file. Links are followed: of a link, what it points at. */
export interface FileFacts {
  readonly kind: FileKind;
  /** Bytes; a file of the kernel's own says 0 and has some. */
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
  /** Seconds since 1970. */
  readonly atime: number;
  readonly mtime: number;
}

export interface FileSource {
  /** Empty at the end; short reads say nothing. */
  read(offset: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

export interface FileSink {
  write(offset: number, bytes: Buffer): Promise<void>;
  /** How long it is in the end, where it was longer before; its mode and times, if they are to be kept. */
  finish(length: number, keep: Pick<FileFacts, 'mode' | 'atime' | 'mtime'> | undefined): Promise<void>;
  close(): Promise<void>;
}

export interface Tree {
  /** Bytes that one read or write should have. */
  readonly pieceBytes: number;
  /** undefined: there is nothing of that name. */
  look(path: string): Promise<FileFacts | undefined>;
  /** Names in a folder, sorted. */
  names(path: string): Promise<string[]>;
  source(path: string): Promise<FileSource>;
  /** Made with this mode where it does not exist. What is there already is written over in place. */
  sink(path: string, mode: number): Promise<FileSink>;
  makeFolder(path: string, mode: number): Promise<void>;
  keep(path: string, facts: Pick<FileFacts, 'mode' | 'atime' | 'mtime'>): Promise<void>;
}

/** st_mode of stat(2). */
export function kindOf(mode: number): FileKind {
  const type = mode & 0o170000;
  return type === 0o100000 ? 'file' : type === 0o040000 ? 'folder' : 'other';
}

export function join(folder: string, name: string): string {
  if (folder === '' || folder === '.') return name;
  return folder.endsWith('/') ? folder + name : `${folder}/${name}`;
}
