/** The few statistics the benchmark page needs. */

/** The q-quantile (0..1) by nearest rank. NaN of nothing. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** Nanoseconds for people: three significant digits and a unit. */
export function duration(ns: number): string {
  const [value, unit] =
    Math.abs(ns) >= 1e6 ? [ns / 1e6, 'ms'] : Math.abs(ns) >= 1e3 ? [ns / 1e3, 'µs'] : [ns, 'ns'];
  return `${value.toPrecision(3)} ${unit}`;
}
