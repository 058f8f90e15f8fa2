import { describe, expect, it } from 'vitest';

import { inSight, Slots, span } from '../ui/window';

describe('rows in sight', () => {
  it('are those of the region and some around them, and never more than there are', () => {
    expect(inSight(0, 320, 32, 1_000, 8)).toEqual([0, 18]);
    expect(inSight(3_200, 320, 32, 1_000, 8)).toEqual([92, 118]);
    expect(inSight(99_999, 320, 32, 10, 8)).toEqual([10, 10]);
  });

  it('keep their elements while they stay; those that come take what others left', () => {
    const slots = new Slots<number>();
    expect(slots.give([1, 2, 3])).toEqual([0, 1, 2]);
    const [two, three, four] = slots.give([2, 3, 4]);
    expect([two, three, four]).toEqual([1, 2, 0]);
    expect(new Set(slots.give([50, 51, 52]))).toEqual(new Set([0, 1, 2]));
    expect(slots.give([50])).toHaveLength(1);
  });

  it('never share an element', () => {
    const slots = new Slots<number>();
    for (let round = 0; round < 200; round += 1) {
      const first = (round * 37) % 101;
      const ids = Array.from({ length: 5 + (first % 30) }, (_, at) => first + at);
      const given = slots.give(ids);
      expect(new Set(given).size).toBe(ids.length);
    }
  });

  it('between two are those of the table’s order', () => {
    expect(span([5, 3, 9, 1], 9, 3)).toEqual([3, 9]);
    expect(span([5, 3], 4, 3)).toEqual([3]);
  });
});
