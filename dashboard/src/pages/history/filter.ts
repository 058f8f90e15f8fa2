import { api, ok, type Schema } from '$lib/api/client';
import { cause, format, wordsIn, type Word } from '$lib/i18n';
import type { FeedEvent } from '$lib/feed';
import { int, many, oneOf, text } from '$lib/router';

export type EventView = Schema<'EventView'>;
export type Density = Schema<'EventDensity'>;
type Type = Exclude<Word<'eventType'>, 'Unknown'>;

export type Gate = Pick<Schema<'ProjectGate'>, 'cause' | 'until' | 'seq'> & { model?: string | null; method?: string | null };

export const TYPES = wordsIn('eventType').filter((type): type is Type => type !== 'Unknown');
export const CLASSES = ['control', 'health', 'traffic'] as const;

/** `at`, `from`: moments, each an event's number or a time. `before`, `after`: which page of the list. */
export const spec = {
  at: text(),
  from: text(),
  type: many(TYPES),
  class: oneOf(CLASSES, undefined),
  key: int(),
  client: int(),
  request_id: text(),
  since: text(),
  until: text(),
  before: int(1),
  after: int(),
};

export interface Filter {
  type: Type[];
  class: (typeof CLASSES)[number] | undefined;
  key: number | undefined;
  client: number | undefined;
  request_id: string;
  since: string;
  until: string;
}

export const nothing: Filter = { type: [], class: undefined, key: undefined, client: undefined, request_id: '', since: '', until: '' };

export const toQuery = ({ since, until, request_id, ...rest }: Filter) => ({
  ...rest,
  request_id: request_id || undefined,
  from: since || undefined,
  to: until || undefined,
});

/** Whether an event that came just now fits. */
export function fits({ type, class: kind, event }: FeedEvent, filter: Filter): boolean {
  const scope = (event.scope ?? {}) as { key?: unknown; method?: { key?: unknown } };
  return (
    (filter.type.length === 0 || filter.type.includes(type as Type)) &&
    (filter.class ?? kind) === kind &&
    (filter.key === undefined || [event.key, scope.key, scope.method?.key].includes(filter.key)) &&
    (filter.client === undefined || event.client === filter.client) &&
    (filter.request_id === '' || event.request === filter.request_id) &&
    filter.until === ''
  );
}

type Where = ReturnType<typeof toQuery> & { before?: number | undefined; after?: number | undefined; order: 'asc' | 'desc' };

/** So many events, or all there are; one call may look at a part of the log only. */
export async function gather(where: Where, count: number, signal?: AbortSignal) {
  const events: EventView[] = [];
  let cursor: string | undefined;
  let head = 0;
  do {
    const query = { ...where, limit: count, cursor };
    const page = await ok(api.GET('/events', { params: { query }, ...(signal && { signal }) }));
    events.push(...page.events);
    head = page.head;
    cursor = page.next ?? undefined;
  } while (cursor !== undefined && events.length < count);
  return { events: events.slice(0, count), head, more: cursor !== undefined || events.length > count };
}

/** The last event at a place of the histogram, 0 to 1; none: nothing had happened yet. */
export function seqAt({ since, until, bucket_ms, buckets }: Density, place: number): number | undefined {
  const exact = (place * (Date.parse(until) - Date.parse(since))) / bucket_ms;
  for (let at = Math.min(buckets.length - 1, Math.floor(exact)); at >= 0; at -= 1) {
    const bucket = buckets[at];
    if (bucket?.first == null) continue;
    const within = Math.min(bucket.events - 1, Math.floor((exact - at) * bucket.events));
    return bucket.first + Math.max(0, within);
  }
  return buckets.find(({ first }) => first != null)?.first ?? undefined;
}

/** Bars of one class each, one on another, as a path on a grid of one by 100 for a bucket. */
export function bars({ buckets }: Density): { kind: string; path: string }[] {
  const most = Math.max(1, ...buckets.map(({ events }) => events));
  const whole = buckets.every(({ by_class }) => by_class);
  const heights = buckets.map(() => 0);
  return (whole ? CLASSES : (['all'] as const)).map((kind) => {
    const parts = buckets.map(({ events, by_class }, x) => {
      const count = kind === 'all' ? events : (by_class?.[kind] ?? 0);
      if (count === 0) return '';
      // What is there can be seen, be it one in a thousand.
      const height = Math.round(Math.max(4, (count / most) * 88));
      const base = heights[x] ?? 0;
      heights[x] = base + height;
      return `M${x + 0.1} ${100 - base}v${-height}h.8v${height}z`;
    });
    return { kind, path: parts.join('') };
  });
}

/** What somebody wrote as a moment: a number, a time of the last day, or a date in any usual form; none: no moment. */
export function moment(written: string): string | undefined {
  const words = written.trim().replaceAll('：', ':');
  if (/^\d*$/.test(words)) return words;
  const clock = /^\d\d?:/.test(words);
  const time = Date.parse(clock ? `${local(new Date().toISOString()).slice(0, 10)} ${words}` : words);
  // Browsers read a date into almost any words that hold a number.
  return Number.isNaN(time) || !/^\d+\D/.test(words) ? undefined : new Date(clock && time > Date.now() ? time - 86_400_000 : time).toISOString();
}

/** For `datetime-local`, and back. */
export const local = (iso: string): string => {
  const time = Date.parse(iso);
  return Number.isNaN(time) ? '' : new Date(time - new Date(time).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
};

/** Why a gate is closed, for what, and until when. */
export const closing = ({ model, method, cause: why, until }: Omit<Gate, 'seq'>, till: (time: string) => string) =>
  [model ?? method, cause(why), until && till(format.time(until))].filter(Boolean).join(' ');
