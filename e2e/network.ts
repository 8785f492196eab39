/**
 * Hosts on one machine: a network namespace each, joined by a bridge in a namespace of its own, so that nothing of
 * the machine's own network is touched. A host behind NAT sits behind a router that hides it. Needs root, iproute2
 * and nftables.
 *
 *   hub (bridge 10.77.0.1/24) ── lan host 10.77.0.x
 *    └─ router 10.77.0.254, masquerades ── natted host 10.78.0.x
 */
import { execFileSync } from 'node:child_process';

export interface Host {
  readonly name: string;
  readonly address: string;
  /** In front of a command line: what follows runs in the host's network, and in this machine's everything else. */
  readonly enter: readonly string[];
}

const lan = '10.77.0';
const behind = '10.78.0';

export class Network {
  readonly #prefix: string;
  readonly #names: string[] = [];
  #next = 10;
  #router = false;

  /** Names of namespaces are the machine's; the process id keeps two runs apart. */
  constructor(prefix = `sp${process.pid}`) {
    this.#prefix = prefix;
    this.#add('hub');
    this.#in('hub', 'ip', 'link', 'add', 'br0', 'type', 'bridge');
    this.#in('hub', 'ip', 'addr', 'add', `${lan}.1/24`, 'dev', 'br0');
    this.#in('hub', 'ip', 'link', 'set', 'br0', 'up');
  }

  /** A host everybody on the bridge can dial. */
  host(name: string): Host {
    this.#add(name);
    const address = `${lan}.${this.#next++}`;
    this.#plug(name, 'br0', 'hub', `${address}/24`);
    return { name, address, enter: this.#enter(name) };
  }

  /** A host that can dial out and that nobody can dial. */
  natted(name: string): Host {
    this.#makeRouter();
    this.#add(name);
    const address = `${behind}.${this.#next++}`;
    this.#plug(name, 'br1', 'router', `${address}/24`);
    this.#in(name, 'ip', 'route', 'add', 'default', 'via', `${behind}.1`);
    return { name, address, enter: this.#enter(name) };
  }

  /** Pulls the host's plug, or puts it back. Packets on their way are lost, connections hang: nobody is told. */
  link(host: Host, state: 'up' | 'down'): void {
    this.#in('hub', 'ip', 'link', 'set', this.#port(host.name), state);
  }

  remove(): void {
    for (const name of this.#names.toReversed()) {
      try {
        execFileSync('ip', ['netns', 'del', this.#ns(name)], { stdio: 'ignore' });
      } catch {
        // It goes with its last process.
      }
    }
    this.#names.length = 0;
  }

  #makeRouter(): void {
    if (this.#router) return;
    this.#router = true;
    this.#add('router');
    this.#plug('router', 'br0', 'hub', `${lan}.254/24`);
    this.#in('router', 'ip', 'link', 'add', 'br1', 'type', 'bridge');
    this.#in('router', 'ip', 'addr', 'add', `${behind}.1/24`, 'dev', 'br1');
    this.#in('router', 'ip', 'link', 'set', 'br1', 'up');
    this.#in('router', 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
    const rules = `
      add table ip nat
      add chain ip nat out { type nat hook postrouting priority 100 ; }
      add rule ip nat out ip saddr ${behind}.0/24 masquerade
      add table ip guard
      add chain ip guard through { type filter hook forward priority 0 ; policy drop ; }
      add rule ip guard through ip saddr ${behind}.0/24 accept
      add rule ip guard through ct state established,related accept
`;
    execFileSync(this.#enter('router')[0] ?? '', [...this.#enter('router').slice(1), 'nft', '-f', '-'], {
      input: rules,
    });
  }

  #add(name: string): void {
    execFileSync('ip', ['netns', 'add', this.#ns(name)]);
    this.#names.push(name);
    this.#in(name, 'ip', 'link', 'set', 'lo', 'up');
  }

  #plug(name: string, bridge: string, at: string, address: string): void {
    const port = this.#port(name);
    const peer = ['peer', 'name', 'eth0', 'netns', this.#ns(name)];
    this.#in(at, 'ip', 'link', 'add', port, 'type', 'veth', ...peer);
    this.#in(at, 'ip', 'link', 'set', port, 'master', bridge);
    this.#in(at, 'ip', 'link', 'set', port, 'up');
    this.#in(name, 'ip', 'addr', 'add', address, 'dev', 'eth0');
    this.#in(name, 'ip', 'link', 'set', 'eth0', 'up');
  }

  #ns(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  /** Linux allows 15 characters. */
  #port(name: string): string {
    return `v-${name}`.slice(0, 15);
  }

  // Not `ip netns exec`: it mounts a new /sys, below which neither cgroups nor BPF pins are found.
  #enter(name: string): readonly string[] {
    return ['nsenter', `--net=/run/netns/${this.#ns(name)}`];
  }

  #in(name: string, ...command: readonly string[]): void {
    const [file = '', ...args] = [...this.#enter(name), ...command];
    execFileSync(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  }
}
