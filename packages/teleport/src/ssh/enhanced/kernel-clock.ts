// The kernel's time as wall time. The kernel stamps with CLOCK_BOOTTIME, which never steps; what it is on the
// wall is fixed once, when the watch begins. A wall clock set later does not move a session's events against
// each other.

const nsPerMs = 1_000_000n;
const nsPerSecond = 1_000_000_000n;

export class KernelClock {
  readonly #realtimeOffsetNs: bigint;
  /** The second that was written last, ns and text: events come in runs, and a date costs more than its digits. */
  #secondNs = -nsPerSecond;
  #secondText = '';

  /** @param realtimeOffsetNs CLOCK_REALTIME − CLOCK_BOOTTIME, ns, when the watch began */
  constructor(realtimeOffsetNs: bigint) {
    this.#realtimeOffsetNs = realtimeOffsetNs;
  }

  /** Milliseconds since the epoch, rounded down: an event never seems to follow what it caused. */
  wallMs(ktime: bigint): number {
    return Number((ktime + this.#realtimeOffsetNs) / nsPerMs);
  }

  /** RFC 3339 UTC with milliseconds, rounded down: `2026-11-21T11:42:42.000Z`. */
  rfc3339Millis(ktime: bigint): string {
    const ns = this.#withinSecond(ktime);
    return `${this.#secondText}.${String(Math.floor(ns / 1e6)).padStart(3, '0')}Z`;
  }

  /** RFC 3339 UTC with nine digits: `2026-11-21T11:42:42.000000001Z`. */
  rfc3339Nanos(ktime: bigint): string {
    const ns = this.#withinSecond(ktime);
    return `${this.#secondText}.${String(ns).padStart(9, '0')}Z`;
  }

  /** Nanoseconds into its second, whose text is at hand then. */
  #withinSecond(ktime: bigint): number {
    const wall = ktime + this.#realtimeOffsetNs;
    const ns = Number(wall - this.#secondNs);
    if (ns >= 0 && ns < 1e9) return ns;
    const second = wall / nsPerSecond;
    this.#secondNs = second * nsPerSecond;
    // toISOString prints `….000Z`: whole seconds stay, the fraction is ours.
    this.#secondText = new Date(Number(second) * 1000).toISOString().slice(0, -5);
    return Number(wall - this.#secondNs);
  }
}
