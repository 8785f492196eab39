// The kernel's time as wall time. The kernel stamps with CLOCK_BOOTTIME, which never steps; what it is on the
// wall is fixed once, when the watch begins. A wall clock set later does not move a session's events against
// each other.

const nsPerMs = 1_000_000n;
const nsPerSecond = 1_000_000_000n;

export class KernelClock {
  readonly #realtimeOffsetNs: bigint;

  /** @param realtimeOffsetNs CLOCK_REALTIME − CLOCK_BOOTTIME, ns, when the watch began */
  constructor(realtimeOffsetNs: bigint) {
    this.#realtimeOffsetNs = realtimeOffsetNs;
  }

  /** Milliseconds since the epoch, rounded down: an event never seems to follow what it caused. */
  wallMs(ktime: bigint): number {
    return Number((ktime + this.#realtimeOffsetNs) / nsPerMs);
  }

  /** RFC 3339 UTC with nine digits: `2026-11-21T11:42:42.000000001Z`. */
  rfc3339Nanos(ktime: bigint): string {
    const wall = ktime + this.#realtimeOffsetNs;
    const seconds = new Date(Number(wall / nsPerSecond) * 1000).toISOString();
    const fraction = String(wall % nsPerSecond).padStart(9, '0');
    // toISOString prints `….000Z`: whole seconds stay, the fraction is ours.
    return `${seconds.slice(0, -5)}.${fraction}Z`;
  }
}
