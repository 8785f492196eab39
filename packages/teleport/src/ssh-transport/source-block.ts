// Which connections count as one source's: addresses with the same leading bits.
import { isIPv4, isIPv6 } from 'node:net';

const IPV4_BITS = 32;
/** The smallest network a customer is given (RFC 6177): anybody may move freely within theirs. */
const IPV6_BITS = 64;
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;

export interface BlockSizes {
  readonly ipv4Bits?: number;
  readonly ipv6Bits?: number;
}

function ipv4Number(host: string): number {
  return host.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** Eight groups of 16 bits; `::` filled in, a dotted tail counted as two. */
function ipv6Groups(host: string): number[] {
  const [head = '', tail] = host.split('::');
  const groups = (text: string) =>
    text
      .split(':')
      .filter((part) => part !== '')
      .flatMap((part) => {
        if (!part.includes('.')) return [Number.parseInt(part, 16)];
        const number = ipv4Number(part);
        return [Math.floor(number / 0x10000), number % 0x10000];
      });
  const [front, back] = [groups(head), groups(tail ?? '')];
  const gap = tail === undefined ? 0 : Math.max(0, 8 - front.length - back.length);
  return [...front, ...new Array<number>(gap).fill(0), ...back];
}

/** A name for the source's block; what is no address (a Unix socket, a test's word) is a source of its own. */
export function sourceBlock(host: string, sizes: BlockSizes = {}): string {
  const { ipv4Bits = IPV4_BITS, ipv6Bits = IPV6_BITS } = sizes;
  const address = (MAPPED.exec(host)?.[1] ?? host).replace(/%.*$/, ''); // without the zone
  if (isIPv4(address)) return `4/${Math.floor(ipv4Number(address) / 2 ** (32 - ipv4Bits))}`;
  if (!isIPv6(address)) return host;
  const bits = ipv6Groups(address).map((group) => group.toString(2).padStart(16, '0'));
  return `6/${bits.join('').slice(0, ipv6Bits)}`;
}
