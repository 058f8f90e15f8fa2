import { expect, test } from 'vitest';

import { flag, int, many, oneOf, readQuery, text, texts, writeQuery } from '../router/query';
import { href, match } from '../router/routes';

const spec = {
  q: text(),
  state: many(['ready', 'cooling', 'failed']),
  range: oneOf(['15m', '1h', '24h'], '1h'),
  at: int(1),
  live: flag(),
  tag: texts(),
};

test('what is nonsense in an address is the default', () => {
  const read = (search: string) => readQuery(spec, new URLSearchParams(search));
  const nothing = { q: '', state: [], range: '1h', at: undefined, live: false, tag: [] };
  expect(read('')).toEqual(nothing);
  expect(read('state=broken&range=2h&at=0&live=yes&tag=')).toEqual(nothing);
  expect(read('at=1e99')).toEqual(nothing);
  expect(read('state=failed&state=ready&at=7&live=1&tag=a&tag=a&tag=b&q=x+y')).toEqual({
    q: 'x y', state: ['ready', 'failed'], range: '1h', at: 7, live: true, tag: ['a', 'b'],
  });
});

test('defaults are not written, and what belongs to others stays', () => {
  const from = new URLSearchParams('request=abc&q=old&range=24h');
  expect(writeQuery(spec, from, { q: 'new', range: '1h' }).toString()).toBe('request=abc&q=new');
  expect(writeQuery(spec, from, { q: '', state: ['failed', 'ready'] }).toString()).toBe(
    'request=abc&range=24h&state=ready&state=failed',
  );
});

test('addresses and pages belong together', () => {
  expect(match('/keys/7')).toEqual({ name: 'key', params: { id: '7' } });
  expect(match('/keys/')).toEqual({ name: 'keys', params: {} });
  expect(match('/')).toEqual({ name: 'home', params: {} });
  expect(match('/keys/7/more').name).toBe('missing');
  expect(match('/keys/%E0').name).toBe('missing');
  expect(href('key', { id: 'a/b' })).toBe('/keys/a%2Fb');
  expect(href('keys', {}, { state: ['ready', 'failed'], q: '', live: true })).toBe('/keys?state=ready&state=failed&live=1');
});
