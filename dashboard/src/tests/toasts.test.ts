import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { toasts } from '$lib/ui/toasts.svelte';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test('what is held back is done once, when nobody took it back', () => {
  const [undo, done] = [vi.fn(), vi.fn()];
  toasts.hold('soon', undo, done);
  expect(done).not.toHaveBeenCalled();
  vi.advanceTimersByTime(20_000);
  expect(done).toHaveBeenCalledOnce();
  expect(undo).not.toHaveBeenCalled();
});

test('what was taken back is never done', () => {
  const done = vi.fn();
  toasts.hold('soon', vi.fn(), done);
  toasts.take(toasts.all.at(-1)?.id ?? 0);
  vi.advanceTimersByTime(20_000);
  expect(done).not.toHaveBeenCalled();
});

test('it is done at once when it is dismissed, or when others need its place', () => {
  const [first, second] = [vi.fn(), vi.fn()];
  toasts.hold('first', vi.fn(), first);
  toasts.dismiss(toasts.all.at(-1)?.id ?? 0);
  expect(first).toHaveBeenCalledOnce();
  toasts.hold('second', vi.fn(), second);
  for (let more = 0; more < 5; more += 1) toasts.say('more');
  expect(second).toHaveBeenCalledOnce();
  expect(toasts.all.length).toBe(4);
  vi.advanceTimersByTime(20_000);
  expect([first, second].map((done) => done.mock.calls.length)).toEqual([1, 1]);
});
