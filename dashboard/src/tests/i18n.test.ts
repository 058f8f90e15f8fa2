import { afterEach, expect, test } from 'vitest';

import * as format from '../i18n/format';
import { choose, locale } from '../i18n/locale.svelte';
import { cause, say } from '../i18n/words';

afterEach(() => locale.set('en'));

test('the browser chooses, and then the person', () => {
  expect(choose(null, ['de', 'zh-Hant-TW', 'en'])).toBe('zh-TW');
  expect(choose(null, ['en-GB', 'zh'])).toBe('en');
  expect(choose(null, ['de'])).toBe('en');
  expect(choose('en', ['zh-TW'])).toBe('en');
  expect(choose('klingon', ['zh-TW'])).toBe('zh-TW');
});

const modules = import.meta.glob<{ en: object; zh: object }>(['../**/*messages.ts', '!../**/help-messages.ts'], { eager: true });

/** Every text of a tree of messages, functions called with something in place of their values. */
function texts(tree: object, at = ''): [string, string][] {
  return Object.entries(tree).flatMap(([name, value]): [string, string][] => {
    const path = `${at}.${name}`;
    if (typeof value === 'function') {
      const told: unknown = (value as (...values: string[]) => unknown)('X', 'Y', 'Z', 'W');
      return typeof told === 'string' ? [[path, told]] : [];
    }
    return typeof value === 'object' && value !== null ? texts(value as object, path) : [[path, String(value)]];
  });
}

test.each(Object.entries(modules))('%s is whole in both languages', (_, { en, zh }) => {
  const [english, chinese] = [texts(en), texts(zh)];
  expect(chinese.map(([path]) => path)).toEqual(english.map(([path]) => path));
  for (const [path, text] of [...english, ...chinese]) expect(text.trim(), path).not.toBe('');
  // A text of letters alone was forgotten, unless it is a name.
  const forgotten = chinese.filter(([path, text]) => text === english.find(([at]) => at === path)?.[1] && /[a-z]{4} [a-z]{2}/i.test(text));
  expect(forgotten).toEqual([]);
});

test('every text has the right characters', () => {
  // Characters that Taiwan writes otherwise.
  const simplified = /[设请证钥务络录时间发应额个试误关闭开执对换数检权绝]/;
  for (const { zh } of Object.values(modules)) expect(texts(zh).filter(([, text]) => simplified.test(text))).toEqual([]);
});

test('words that nobody knows are shown as they are', async () => {
  expect(say('verdict', 'quota_day')).toBe('Out of requests per day');
  expect(say('verdict', 'of_tomorrow')).toBe('of_tomorrow');
  expect(cause('checked')).toBe('A check passed');
  await locale.set('zh-TW');
  expect(say('keyState', 'cooling')).toBe('冷卻中');
});

test('numbers and times', async () => {
  expect(format.number(12345.678, 1)).toBe('12,345.7');
  expect(format.bytes(999)).toBe('999 bytes');
  expect(format.bytes(1_234_567)).toBe('1.2 MB');
  expect(format.percent(0.042)).toBe('4.2%');
  expect(format.percent(0.00001)).toBe('<0.1%');
  expect(format.percent(0)).toBe('0%');
  expect([412, 3_240, 59_600, 125_000, 12_000_000, 90_000_000].map(format.duration)).toEqual([
    '412 ms', '3.2 sec', '1 min', '2 min 5 sec', '3 hr 20 min', '1 day 1 hr',
  ]);
  const now = Date.UTC(2026, 0, 1);
  expect(format.relative(now - 200_000, now)).toBe('3 min. ago');
  expect(format.relative(now + 43_000, now)).toBe('in 43 sec.');
  await locale.set('zh-TW');
  expect(format.duration(125_000)).toBe('2 分鐘 5 秒');
  expect(format.bytes(999)).toBe('999 位元組');
  expect(format.bytes(1_234_567)).toBe('1.2 MB');
  expect(format.fullTime(now)).toMatch(/^2026\/1\/1 00:00:00 [^[\]]+$|^20/);
});
