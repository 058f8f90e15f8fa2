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

/**
 * Which element draws which row: a row that stays keeps its own, one that comes takes that of one that left, so that
 * scrolling makes and throws away next to nothing.
 */
export class Slots<Id> {
  #of = new Map<Id, number>();

  /** The elements' numbers for the rows that are drawn now. */
  give(ids: readonly Id[]): number[] {
    const kept = new Set(ids.flatMap((id) => this.#of.get(id) ?? []));
    const free = [...this.#of.values()].filter((slot) => !kept.has(slot));
    let next = Math.max(-1, ...this.#of.values());
    this.#of = new Map(ids.map((id) => [id, this.#of.get(id) ?? free.pop() ?? (next += 1)]));
    return ids.map((id) => this.#of.get(id) ?? 0);
  }
}
