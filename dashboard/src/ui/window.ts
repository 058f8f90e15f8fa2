/** Which rows to draw: those in sight, and some around them, so that scrolling shows no hole. */
export function inSight(scroll: number, height: number, row: number, count: number, around = 8): [number, number] {
  const first = Math.max(0, Math.floor(scroll / row) - around);
  const last = Math.min(count, Math.ceil((scroll + height) / row) + around);
  return [Math.min(first, last), last];
}

/** The rows between two, both included, in the order of the table. */
export function span<T>(ids: readonly T[], from: T | undefined, to: T): T[] {
  const [a, b] = [from === undefined ? -1 : ids.indexOf(from), ids.indexOf(to)];
  if (a < 0 || b < 0) return [to];
  return ids.slice(Math.min(a, b), Math.max(a, b) + 1);
}
