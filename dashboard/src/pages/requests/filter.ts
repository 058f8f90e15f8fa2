import type { Schema } from '$lib/api/client';
import { clock } from '$lib/i18n';
import { int, oneOf, text } from '$lib/router';
import type { Values } from '$lib/router/query';

export type Row = Schema<'RequestLogView'>;

export const RANGES = { '15m': 900_000, '1h': 3_600_000, '24h': 86_400_000, '7d': 604_800_000, '30d': 2_592_000_000 };
export type Range = keyof typeof RANGES;
const ranges = Object.keys(RANGES) as Range[];

/** What is asked for, as the URL says it. Names are the API's, so that links from other pages can say them too. */
export const conditions = {
  /** In the error; or a whole request id. */
  text: text(),
  range: oneOf(ranges, undefined),
  from: text(),
  to: text(),
  status: text(),
  outcome: oneOf(['complete', 'truncated', 'cancelled', 'refused'], undefined),
  model: text(),
  client: int(0, 4_294_967_295),
  key: int(0, 4_294_967_295),
  min_latency_ms: int(0, 4_294_967_295),
  max_latency_ms: int(0, 4_294_967_295),
  tries_min: int(1, 255),
  streamed: oneOf(['true', 'false'], undefined),
};

/** All that this page keeps in the URL. */
export const spec = {
  ...conditions,
  /** The request that is peeked at. */
  request: text(),
  live: oneOf(['on', 'off'], 'on'),
  /** The view that was applied. */
  view: text(),
};

export type Filter = Values<typeof conditions>;
export type Facet = 'status' | 'outcome' | 'model' | 'client' | 'key';

/** Every condition taken back. */
export const nothing: Filter = {
  text: '',
  range: undefined,
  from: '',
  to: '',
  status: '',
  outcome: undefined,
  model: '',
  client: undefined,
  key: undefined,
  min_latency_ms: undefined,
  max_latency_ms: undefined,
  tries_min: undefined,
  streamed: undefined,
};

const ID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

const time = (written: string): string | undefined => {
  const at = Date.parse(written);
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
};

/** The conditions as the API takes them; `without` leaves a facet out, to count what else there is. */
export function toQuery(filter: Filter, without?: Facet) {
  const asked = filter.text.trim();
  const id = ID.test(asked);
  const since = filter.range && new Date(clock.peek() - RANGES[filter.range]).toISOString();
  const query = {
    from: since ?? time(filter.from),
    to: filter.range ? undefined : time(filter.to),
    status: filter.status || undefined,
    outcome: filter.outcome,
    model: filter.model || undefined,
    client: filter.client,
    key: filter.key,
    min_latency_ms: filter.min_latency_ms,
    max_latency_ms: filter.max_latency_ms,
    text: id ? undefined : asked || undefined,
    request: id ? asked : undefined,
    streamed: filter.streamed && filter.streamed === 'true',
    tries_min: filter.tries_min,
  };
  if (without) query[without] = undefined;
  return query;
}

/** The same as the end of an address. */
export function exportHref(filter: Filter, format: 'csv' | 'jsonl'): string {
  const given = Object.entries(toQuery(filter)).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams([['format', format], ...given.map(([name, value]): [string, string] => [name, String(value)])]);
  return `/api/request_logs/export?${search}`;
}

/** How many conditions are in force. */
export const conditionsIn = (filter: Filter): number =>
  Object.entries(nothing).filter(([name, none]) => filter[name as keyof Filter] !== none).length;

/** Views that everybody has. */
export const presets = [
  { id: 'failover', query: { tries_min: '2' } },
  { id: 'errors', query: { status: '5xx' } },
  { id: 'quota', query: { status: '429' } },
  { id: 'slow', query: { min_latency_ms: '10000' } },
  { id: 'broken', query: { outcome: 'truncated' } },
  { id: 'refused', query: { outcome: 'refused' } },
] as const;

/** The conditions alone of an address, in one order, so that two can be compared. */
export function conditionsOf(search: URLSearchParams): string {
  const kept = [...search].filter(([name]) => name in conditions);
  return new URLSearchParams(kept.sort(([a], [b]) => a.localeCompare(b))).toString();
}
