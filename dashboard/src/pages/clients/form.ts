import type { Schema } from '$lib/api/client';

export type Client = Schema<'ClientView'>;
export type Made = Schema<'MadeClient'>;
type Change = Schema<'ClientChange'>;

/** What can be said of a client, as a form holds it: text, so that what is half typed is not lost. */
export interface Draft {
  name: string;
  note: string;
  models: string;
  addresses: string;
  requests_per_minute: string;
  requests_per_day: string;
  tokens_per_day: string;
  concurrent: string;
  expires_at: string;
}
export type Field = keyof Draft;

export const CAPS = ['requests_per_minute', 'requests_per_day', 'tokens_per_day', 'concurrent'] as const;
export const FIELDS: Field[] = ['name', 'note', 'models', 'addresses', ...CAPS, 'expires_at'];

const cap = (limit: number | null | undefined) => limit?.toString() ?? '';

/** A time as the browser's field wants it, in the time of this place. */
function local(at: string | null | undefined): string {
  if (!at) return '';
  const time = Date.parse(at);
  return new Date(time - new Date(time).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

export const empty: Draft = draftOf(undefined);

export function draftOf(client: Client | undefined): Draft {
  return {
    name: client?.name ?? '',
    note: client?.note ?? '',
    models: client?.models.join('\n') ?? '',
    addresses: client?.addresses.join('\n') ?? '',
    requests_per_minute: cap(client?.requests_per_minute),
    requests_per_day: cap(client?.requests_per_day),
    tokens_per_day: cap(client?.tokens_per_day),
    concurrent: cap(client?.concurrent),
    expires_at: local(client?.expires_at),
  };
}

export const lines = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean);

/** Limits that are no numbers. */
export const wrongCaps = (draft: Draft): Field[] =>
  CAPS.filter((field) => draft[field].trim() !== '' && !/^[1-9]\d{0,15}$/.test(draft[field].trim()));

/** What the API is told of some fields. */
export function changeOf(draft: Draft, fields: readonly Field[]): Change {
  const limit = (text: string) => (text.trim() === '' ? null : Number(text));
  const all = {
    name: draft.name.trim(),
    note: draft.note,
    models: lines(draft.models),
    addresses: lines(draft.addresses),
    requests_per_minute: limit(draft.requests_per_minute),
    requests_per_day: limit(draft.requests_per_day),
    tokens_per_day: limit(draft.tokens_per_day),
    concurrent: limit(draft.concurrent),
    expires_at: draft.expires_at === '' ? null : new Date(draft.expires_at).toISOString(),
  } satisfies Change;
  return Object.fromEntries(fields.map((field) => [field, all[field]])) as Change;
}

/** The fields in which two differ, by what they mean. */
export function different(one: Draft, other: Draft): Field[] {
  const [a, b] = [changeOf(one, FIELDS), changeOf(other, FIELDS)];
  return FIELDS.filter((field) => JSON.stringify(a[field]) !== JSON.stringify(b[field]));
}
