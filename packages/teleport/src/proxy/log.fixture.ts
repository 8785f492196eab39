import type { ProxyLog } from './proxy.ts';

export const silentLog: ProxyLog = { debug() {}, info() {}, warn() {}, error() {} };
