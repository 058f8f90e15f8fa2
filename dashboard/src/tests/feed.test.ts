import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { Problem } from '../api/problem';
import { backoff, Link, type FeedEvent, type LinkState } from '../feed/link';
import { Parser } from '../feed/sse';
import { inSight, span } from '../ui/window';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const block = (seq: number) => `id: ${seq}\nevent: Answered\ndata: ${JSON.stringify({ seq, type: 'Answered', at: '', class: 'traffic', event: {} })}\n\n`;
const hello = (seq: number) => `retry: 2000\nid: ${seq}\n\n`;

/** A server that answers calls one after the other as the test says. */
function link(answers: ((path: string, init: RequestInit) => Response | Promise<Response>)[]) {
  const calls: { path: string; from: string | undefined }[] = [];
  const states: LinkState[] = [];
  const events: FeedEvent[] = [];
  let resets = 0;
  const made = new Link({
    get: async (path, init) => {
      calls.push({ path, from: (init.headers as Record<string, string> | undefined)?.['Last-Event-ID'] });
      const answer = answers.shift();
      if (!answer) return new Promise(() => {});
      return answer(path, init);
    },
    onState: (state) => states.push(state),
    onEvents: (some) => events.push(...some),
    onReset: () => (resets += 1),
    random: () => 0.5,
  });
  return { made, calls, states, events, resets: () => resets };
}

const gone = () => {
  throw new Problem({}, 0);
};

test('messages are whole however their bytes come', () => {
  const text = hello(4) + block(5) + ': still here\nid: 6\n\n';
  for (const size of [1, 7, 1000]) {
    const parser = new Parser();
    const found = [];
    for (let at = 0; at < text.length; at += size) found.push(...parser.push(text.slice(at, at + size)));
    expect(found.map(({ id }) => id)).toEqual(['4', '5', '6']);
    expect(found.map(({ data }) => data !== undefined)).toEqual([false, true, false]);
  }
});

test('a broken stream goes on where it was, and tells nothing twice', async () => {
  const it = link([
    () => new Response(hello(4) + block(5) + block(6)),
    gone,
    () => new Response(hello(6) + block(6) + block(7)),
  ]);
  it.made.start();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(it.calls.map(({ from }) => from).slice(0, 3)).toEqual([undefined, '6', '6']);
  expect(it.events.map(({ seq }) => seq)).toEqual([5, 6, 7]);
  expect(it.states.map(({ kind }) => kind).filter((kind, at, all) => kind !== all[at - 1])).toEqual([
    'connecting', 'live', 'lost', 'live', 'lost',
  ]);
  it.made.stop();
});

test('where streams do not get through it polls, and tries the stream again', async () => {
  const page = (events: number[], head: number) => () =>
    Response.json({ events: events.map((seq) => ({ seq, type: 'Answered' })), head });
  const it = link([gone, gone, gone, page([], 9), page([10, 11], 11), ...Array.from({ length: 30 }, () => page([], 11))]);
  it.made.start();
  await vi.advanceTimersByTimeAsync(8_000);
  expect(it.states.at(-1)?.kind).toBe('polling');
  expect(it.events.map(({ seq }) => seq)).toEqual([10, 11]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(it.calls.filter(({ path }) => path.startsWith('/events/stream')).length).toBeGreaterThan(3);
  it.made.stop();
});

test('another log begins anew, and an ended session ends the link', async () => {
  const ahead = () => {
    throw new Problem({ code: 'position_ahead' }, 409);
  };
  const out = () => {
    throw new Problem({ code: 'not_logged_in' }, 401);
  };
  const it = link([() => new Response(hello(900)), ahead, () => new Response(hello(3)), out]);
  it.made.start();
  await vi.advanceTimersByTimeAsync(20_000);
  expect(it.resets()).toBe(1);
  expect(it.calls.map(({ from }) => from)).toEqual([undefined, '900', undefined, '3']);
  expect(it.states.at(-1)).toEqual({ kind: 'off' });
});

test('a silent stream is given up', async () => {
  const silent = (_: string, init: RequestInit) =>
    new Promise<Response>((_, no) => init.signal?.addEventListener('abort', () => no(new DOMException('', 'AbortError'))));
  const it = link([silent]);
  it.made.start();
  await vi.advanceTimersByTimeAsync(45_000);
  expect(it.calls.length).toBeGreaterThan(1);
  it.made.stop();
});

test('waits grow, and have an end', () => {
  expect([0, 1, 2, 10].map((failures) => backoff(failures, 0.5))).toEqual([500, 1000, 2000, 15_000]);
  expect(backoff(0, 0)).toBeLessThan(backoff(0, 1));
});

test('tables draw what is in sight', () => {
  expect(inSight(0, 320, 32, 10_000)).toEqual([0, 18]);
  expect(inSight(3_200, 320, 32, 10_000)).toEqual([92, 118]);
  expect(inSight(9_999_999, 320, 32, 100)).toEqual([100, 100]);
  expect(span([1, 2, 3, 4], 3, 1)).toEqual([1, 2, 3]);
  expect(span([1, 2, 3], undefined, 2)).toEqual([2]);
});
