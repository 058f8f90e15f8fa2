import { expect, test } from 'vitest';

import { bars, fits, moment, nothing, seqAt, type Density } from '../pages/history/filter';

const bucket = (events: number, first: number | null) => ({ at: '', events, first, by_class: { control: 0, health: 1, traffic: Math.max(0, events - 1) } });
const density: Density = {
  since: '2026-01-01T00:00:00Z', until: '2026-01-01T00:00:04Z', bucket_ms: 1_000, after: 9, head: 112, events: 103,
  buckets: [bucket(0, null), bucket(3, 10), bucket(0, null), bucket(100, 13)],
};

test('a place of the histogram is an event', () => {
  expect([0, 0.25, 0.4, 0.6, 0.75, 0.875, 1].map((place) => seqAt(density, place))).toEqual([10, 10, 11, 12, 13, 63, 112]);
  expect(seqAt({ ...density, buckets: [] }, 0.5)).toBeUndefined();
});

test('a lone event can be seen beside many, and classes only where they are told', () => {
  expect(bars(density).map(({ kind }) => kind)).toEqual(['control', 'health', 'traffic']);
  expect(bars(density)[1]?.path).toContain('v-4h');
  const [all, ...none] = bars({ ...density, buckets: density.buckets.map(({ at, events, first }) => ({ at, events, first })) });
  expect([all?.kind, none.length]).toEqual(['all', 0]);
});

test('a moment is a number or a time, and nothing else', () => {
  expect(moment(' 18204 ')).toBe('18204');
  expect(moment('2026-01-01T00:00:00+01:00')).toBe('2025-12-31T23:00:00.000Z');
  expect(moment('2026/11/29 12:00')).toBe(new Date(2026, 10, 29, 12).toISOString());
  expect(['never', '昨天', 'key 7', '25:00', '2026-13-45'].map(moment)).toEqual(Array(5).fill(undefined));
  for (const written of ['0:00', '23:59:59', '12：30']) {
    const back = Date.now() - Date.parse(moment(written) ?? '');
    expect(back).toBeGreaterThanOrEqual(0);
    expect(back).toBeLessThan(25 * 3_600_000);
  }
  expect(new Date(moment('12:30') ?? '').toTimeString()).toMatch(/^12:30:00/);
});

test('live events are filtered as the list is', () => {
  const event = { seq: 1, at: '', type: 'GateClosed', class: 'health', event: { scope: { key: 7 } } };
  expect(fits(event, nothing)).toBe(true);
  expect(fits(event, { ...nothing, key: 7, class: 'health', type: ['GateClosed'] })).toBe(true);
  expect(fits(event, { ...nothing, key: 8 })).toBe(false);
  expect(fits(event, { ...nothing, class: 'traffic' })).toBe(false);
});
