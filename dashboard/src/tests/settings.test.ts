import { readFileSync } from 'node:fs';

import { expect, test } from 'vitest';

import { locale } from '../i18n/locale.svelte';
import * as words from '../i18n/word-messages';
import { choices, measure, wanted } from '../pages/settings/help';
import { zh } from '../pages/settings/help-messages';

const named = [...readFileSync('../docs/settings.md', 'utf8').matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, name]) => name);

test('every setting has a name in both languages, and its effect in Chinese; the server tells it in English', () => {
  expect(named.length).toBeGreaterThan(30);
  for (const { setting } of [words.en.of, words.zh.of]) expect(named.filter((name) => !(name! in setting))).toEqual([]);
  expect(Object.keys(zh.effects).sort()).toEqual([...named].sort());
  for (const text of Object.values(zh.effects)) expect(text).toMatch(/[\u4e00-\u9fff]/);
});

test('what a setting takes is said in Chinese', async () => {
  expect(wanted('wants a folder')).toBe('It takes a folder.');
  expect(wanted('wants a whole number from 1 to 86400, not `0`')).toBe('It takes a whole number from 1 to 86,400, not “0”.');
  await locale.set('zh-TW');
  // The words of src/config/read.rs.
  const known = [
    'a whole number from 1 to 10', 'a number of seconds from 0 to 600, such as 2 or 0.5', 'true or false',
    'least-loaded, round-robin or sticky', 'an IP address such as 127.0.0.1 or ::', 'a folder', 'fjall:FOLDER or memory:',
    'an address that begins with http:// or https://', 'a name of 1 to 64 characters', 'wants at least 16 characters',
    'wants a whole number from 1 to 10, not `99`', 'wants a value; null takes back what was said of it',
    'wants at least MAX_BODY_BYTES, or no such body could ever be taken',
  ];
  for (const text of known) expect(wanted(text), text).not.toMatch(/\b(wants|whole|number|such|begins|least|characters)\b(?!-)/);
  expect(wanted('wants a whole number from 1 to 10, not `99`')).toBe('應為：1 至 10 的整數，而不是「99」');
  expect(wanted('something new')).toBe('something new');
});

test('what has a unit is shown in it', async () => {
  await locale.set('en');
  expect(['QUEUE_TIMEOUT 0.5', 'KEY_RECHECK_INTERVAL 3600', 'LOG_RETENTION_DAYS 30', 'ACCESS_TOKEN_EXPIRE_MINUTES 90', 'MAX_BODY_BYTES 104857600'].map((words) => {
    const [name = '', value = ''] = words.split(' ');
    return measure(name, value);
  })).toEqual(['500 ms', '1 hr', '30 days', '1 hr 30 min', '104.9 MB']);
  expect([measure('PORT', '8000'), measure('LOG_RETENTION_DAYS', '0'), measure('MAX_BODY_BYTES', 'x')]).toEqual([undefined, undefined, undefined]);
});

test('only what is one of some words is a choice', () => {
  expect(choices('off, errors or all')).toEqual(['off', 'errors', 'all']);
  expect(choices('true or false')).toEqual(['true', 'false']);
  expect(choices('a folder')).toBeUndefined();
  expect(choices('fjall:FOLDER or memory:')).toBeUndefined();
  expect(choices(null)).toBeUndefined();
});
