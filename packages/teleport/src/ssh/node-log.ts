// The service log, as the node uses it: pino's shape, so that pino fits, and a test can collect.

export interface NodeLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
