import { describe, expect, it } from 'vitest';

import { inSight, Slots, span } from '../ui/window';

describe('rows in sight', () => {
  it('are those of the region and some around them, and never more than there are', () => {
    expect(inSight(0, 320, 32, 1_000, 8)).toEqual([0, 18]);
    expect(inSight(3_200, 320, 32, 1_000, 8)).toEqual([92, 118]);
    expect(inSight(99_999, 320, 32, 10, 8)).toEqual([10, 10]);
  });

  const elements = (slots: Slots<number>, ids: number[], most?: number) => {
    const { drawn } = slots.give(ids, most);
    return ids.map((id) => drawn.get(id));
  };

  it('keep their elements while they stay; those that come take what others left', () => {
    const slots = new Slots<number>();
    expect(elements(slots, [1, 2, 3])).toEqual([0, 1, 2]);
    expect(elements(slots, [2, 3, 4])).toEqual([1, 2, 0]);
    expect(new Set(elements(slots, [50, 51, 52]))).toEqual(new Set([0, 1, 2]));
    expect(elements(slots, [50])).toHaveLength(1);
  });

  it('come a few at a time where that is asked, into elements that are kept for them', () => {
    const slots = new Slots<number>();
    slots.give([1, 2, 3, 4]);
    const first = slots.give([11, 12, 13, 14], 2);
    expect([...first.drawn.keys()].filter((id) => id > 10)).toEqual([11, 12]);
    expect([first.drawn.size, first.waiting]).toEqual([4, true]);
    const second = slots.give([11, 12, 13, 14], 2);
    expect([...second.drawn.keys()].sort()).toEqual([11, 12, 13, 14]);
    expect([new Set(second.drawn.values()), second.waiting]).toEqual([new Set([0, 1, 2, 3]), false]);
  });

  it('never share an element', () => {
    const slots = new Slots<number>();
    for (let round = 0; round < 200; round += 1) {
      const ids = Array.from({ length: 5 + (round % 30) }, (_, at) => ((round * 37) % 101) + at);
      const { drawn } = slots.give(ids, round % 3 === 0 ? 4 : undefined);
      expect(new Set(drawn.values()).size).toBe(drawn.size);
    }
  });

  it('between two are those of the table’s order', () => {
    expect(span([5, 3, 9, 1], 9, 3)).toEqual([3, 9]);
    expect(span([5, 3], 4, 3)).toEqual([3]);
  });
});
