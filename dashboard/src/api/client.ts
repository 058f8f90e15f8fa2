import type { Client } from 'openapi-fetch';

import { clock } from '$lib/i18n/clock.svelte';
import { Problem, isAbort, problemOf } from './problem';
import type { components, paths } from './schema';
import { session } from './session.svelte';

/** The API's shapes by name: `Schema<'KeyView'>`. */
export type Schema<Name extends keyof components['schemas']> = components['schemas'][Name];

export { Problem, asProblem, isAbort } from './problem';

/** What every change by cookie has to bring; another site's page cannot send it. */
export const CHANGES = { 'X-Requested-With': 'gemini-pool' } as const;

/** A fetch that tells no answer from an answer: whoever calls sees problems only. */
export async function call(url: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { ...init, credentials: 'same-origin' });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Problem({}, 0);
  }
  clock.learn(response.headers.get('date'));
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (problem.code === 'not_logged_in') session.ended();
  throw problem;
}

interface Options {
  params?: { path?: Record<string, unknown>; query?: Record<string, unknown>; header?: Record<string, unknown> };
  body?: unknown;
  signal?: AbortSignal | null;
}

async function send(method: string, path: string, { params = {}, body, signal = null }: Options = {}) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(params.path?.[name])));
  const url = new URL(`/api${filled}`, location.href);
  for (const [name, value] of Object.entries(params.query ?? {})) {
    for (const one of [value].flat()) if (one != null) url.searchParams.append(name, String(one));
  }
  const headers = new Headers(method === 'GET' ? {} : CHANGES);
  for (const [name, value] of Object.entries(params.header ?? {})) if (value != null) headers.set(name, String(value));
  if (body !== undefined) headers.set('content-type', 'application/json');
  const response = await call(url.href, { method, headers, signal, body: body === undefined ? null : JSON.stringify(body) });
  const text = await response.text();
  return { data: text === '' ? undefined : (JSON.parse(text) as unknown), response };
}

type Verb = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
const by = (method: Verb) => (path: string, options?: Options) => send(method, path, options);

/**
 * The admin API: `await api.GET('/keys', { params: { query: { limit: 50 } }, signal })`.
 * Every failure throws a {@link Problem}; use {@link ok} to get the body. (The types are openapi-fetch's; what the
 * dashboard needs of its code are these few lines.)
 */
export const api = {
  GET: by('GET'),
  POST: by('POST'),
  PUT: by('PUT'),
  PATCH: by('PATCH'),
  DELETE: by('DELETE'),
} as unknown as Pick<Client<paths>, Verb>;

/** The body of an answer: `const keys = await ok(api.GET('/keys'))`. */
export async function ok<T>(answer: Promise<{ data?: T; error?: unknown }>): Promise<T> {
  // Failures were thrown by `call`; what is left without a body has none to give (204).
  return (await answer).data as T;
}
