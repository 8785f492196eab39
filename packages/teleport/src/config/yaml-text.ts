// YAML for everybody who is not teleport.yaml: resources given to and printed by tctl.
import { AppError } from '@sallyport/contracts/errors.ts';
import { parseAllDocuments, stringify } from 'yaml';

/** A file of one or more documents. Throws AppError `config.bad_yaml` with line and column. */
export function parseYamlDocuments(text: string, source: string): unknown[] {
  const documents = parseAllDocuments(text, { prettyErrors: true });
  if (!Array.isArray(documents)) return [];
  return documents.map((document) => {
    const error = document.errors[0];
    if (error === undefined) return document.toJS({ maxAliasCount: 100 });
    const at = error.linePos?.[0];
    const where = at === undefined ? source : `${source}:${at.line}:${at.col}`;
    throw new AppError('bad_input', 'config.bad_yaml', `${where}: ${error.message.split('\n', 1)[0]}`);
  });
}

export function toYaml(value: unknown): string {
  return stringify(value, { indentSeq: true, lineWidth: 0 });
}
