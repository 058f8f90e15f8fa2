import { describe, expect, it } from 'vitest';

import { conditionsIn, conditionsOf, nothing, toQuery, type Row } from '$lib/pages/requests/filter';
import { RequestList, type Page } from '$lib/pages/requests/list.svelte';
import { curl } from '$lib/pages/request/curl';
import { scaleOf, type Detail } from '$lib/pages/request/timeline';

const row = (seq: number) => ({ seq, id: `id-${seq}` }) as Row;
/** Rows from one position down to another. */
const page = (from: number, to: number, next?: string): Page => ({
  bodies: 'off',
  request_logs: Array.from({ length: from - to + 1 }, (_, at) => row(from - at)),
  next,
});
const seqs = (list: RequestList) => [list.rows[0]?.seq, list.rows.length, list.fresh.length, list.overflown];
const later = () => new Promise((done) => setTimeout(done, 500));

describe('the list of requests', () => {
  it('lets new rows wait, and shows them once each', async () => {
    let log = page(3, 1);
    const list = new RequestList();
    await list.start(() => Promise.resolve(log));
    log = page(5, 1);
    list.soon();
    list.soon();
    await later();
    expect(seqs(list)).toEqual([3, 3, 2, false]);
    list.show();
    expect(seqs(list)).toEqual([5, 5, 0, false]);
  });

  it('begins anew where more came than it looked at', async () => {
    let log = page(3, 1);
    const list = new RequestList();
    await list.start(() => Promise.resolve(log));
    log = page(900, 701, 'older');
    list.soon();
    await later();
    expect(seqs(list)).toEqual([3, 3, 200, true]);
    list.show();
    expect(seqs(list)).toEqual([900, 200, 0, false]);
    expect(list.next).toBe('older');
  });

  it('takes another log for another log', async () => {
    let log = page(300, 298);
    const list = new RequestList();
    await list.start(() => Promise.resolve(log));
    log = page(12, 10);
    list.soon();
    await later();
    expect(seqs(list)).toEqual([12, 3, 0, false]);
  });

  it('gives up what answers an older filter', async () => {
    const list = new RequestList();
    let answer: (page: Page) => void = () => {};
    void list.start(() => new Promise((done) => (answer = done)));
    await list.start(() => Promise.resolve(page(2, 1)));
    answer(page(9, 1));
    await later();
    expect(seqs(list)).toEqual([2, 2, 0, false]);
  });
});

describe('conditions', () => {
  it('take a whole id for an id, and anything else for text', () => {
    const id = '01a227d5-c210-756a-8107-d3c4f6426198';
    expect(toQuery({ ...nothing, text: ` ${id} ` })).toMatchObject({ request: id, text: undefined });
    expect(toQuery({ ...nothing, text: 'quota' })).toMatchObject({ request: undefined, text: 'quota' });
  });

  it('leave a facet out to count its other values', () => {
    const filter = { ...nothing, status: '429', key: 7 };
    expect(toQuery(filter, 'status')).toMatchObject({ status: undefined, key: 7 });
    expect(conditionsIn(filter)).toBe(2);
  });

  it('are compared in one order, without what is no condition', () => {
    expect(conditionsOf(new URLSearchParams('view=a&status=5xx&request=b&key=1'))).toBe('key=1&status=5xx');
  });
});

const detail = {
  time: '2026-11-29T15:00:00.000Z',
  duration_ms: 1_000,
  first_byte_ms: 500,
  verb: 'POST',
  path: '/v1beta/models/it\'s:generateContent',
  attempts: [
    { time: '2026-11-29T14:59:59.999Z', latency_ms: 80, first_byte_ms: null },
    { time: '2026-11-29T15:00:00.088Z', latency_ms: 912, first_byte_ms: 412 },
  ],
} as unknown as Detail;

describe('one request', () => {
  it('is drawn to scale', () => {
    const { whole, request, tries } = scaleOf(detail);
    expect([whole, request.first]).toEqual([1_000, 0.5]);
    expect(tries[0]).toMatchObject({ left: 0, width: 0.08, first: undefined });
    expect(tries[1]?.left).toBeCloseTo(0.088);
    expect(tries[1]?.first).toBeCloseTo(412 / 912);
  });

  it('becomes a command without a secret, quoted for a shell', () => {
    expect(curl('http://pool', detail, "{\"a\":\"it's\"}")).toBe(
      `curl -X POST 'http://pool/v1beta/models/it'\\''s:generateContent' \\\n  -H "x-goog-api-key: $GEMINI_POOL_KEY" \\\n  -H 'content-type: application/json' \\\n  -d '{"a":"it'\\''s"}'`,
    );
  });
});
