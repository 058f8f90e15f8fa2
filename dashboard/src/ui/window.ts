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

  /**
   * The elements of the rows that are drawn now. At most so many rows get an element that showed another one; the
   * others wait, and rows that left keep what those will take, so that no step is a long one.
   */
  give(ids: readonly Id[], most = Number.POSITIVE_INFINITY): { drawn: ReadonlyMap<Id, number>; waiting: boolean } {
    const wanted = new Set(ids);
    const left = [...this.#of].filter(([id]) => !wanted.has(id));
    const drawn = new Map<Id, number>();
    let next = Math.max(-1, ...this.#of.values()) + 1;
    let fresh = 0;
    let waiting = 0;
    for (const id of ids) {
      const own = this.#of.get(id);
      if (own !== undefined) drawn.set(id, own);
      else if (fresh < most) {
        fresh += 1;
        drawn.set(id, left.pop()?.[1] ?? next++);
      } else waiting += 1;
    }
    for (const [id, slot] of left.slice(0, waiting)) drawn.set(id, slot);
    this.#of = drawn;
    return { drawn, waiting: waiting > 0 };
  }
}
