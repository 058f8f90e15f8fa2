import createClient, { type Middleware } from 'openapi-fetch';

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
export async function call(request: Request | string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(request, { ...init, credentials: 'same-origin' });
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

const middleware: Middleware = {
  onRequest({ request }) {
    if (request.method !== 'GET') request.headers.set('X-Requested-With', CHANGES['X-Requested-With']);
    return request;
  },
};

const client = createClient<paths>({
  baseUrl: new URL('/api', location.href).href,
  fetch: (request) => call(request),
});
client.use(middleware);

/**
 * The admin API: `await api.GET('/keys', { params: { query: { limit: 50 } }, signal })`.
 * Every failure throws a {@link Problem}; use {@link ok} to get the body.
 */
export const api = client;

/** The body of an answer: `const keys = await ok(api.GET('/keys'))`. */
export async function ok<T>(answer: Promise<{ data?: T; error?: unknown }>): Promise<T> {
  // Failures were thrown by `call`; what is left without a body has none to give (204).
  return (await answer).data as T;
}
