// A whole pool, run by a client whose types were generated from the server's own document, and by nothing else.
//
// tests/it/typed_client.rs has openapi-typescript write `schema.d.ts` from /api/openapi.json, lets tsc judge this
// program against it, and runs it against the real server. At the end every operation of the document must have been
// used: one that is added is added here.
import { readFileSync } from 'node:fs';
import createClient, { type Middleware } from 'openapi-fetch';
import type { components, paths } from './schema.d.ts';

const origin = process.env.ORIGIN ?? '';
const password = process.env.PASSWORD ?? '';
const clientKey = process.env.CLIENT_KEY ?? '';

function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

let token = '';
const used = new Set<string>();
const api = createClient<paths>({ baseUrl: `${origin}/api` });
const shows: Middleware = {
  onRequest({ request, schemaPath }) {
    used.add(`${request.method} ${schemaPath}`);
    if (token !== '') request.headers.set('authorization', `Bearer ${token}`);
    return request;
  },
};
api.use(shows);

type Problem = components['schemas']['Detail'];

/** What an operation gave; fails with the problem's own words. */
async function good<T>(call: Promise<{ data?: T; error?: Problem; response: Response }>): Promise<T> {
  const { data, error, response } = await call;
  assert(response.ok, `${response.url}: ${response.status} ${error?.code}: ${error?.detail}`);
  return data as T;
}

/** The code of the problem that an operation must meet. */
async function refused(call: Promise<{ error?: Problem; response: Response }>): Promise<string> {
  const { error, response } = await call;
  assert(error !== undefined, `${response.url} was not refused`);
  return error.code;
}

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new Error(`there was no ${what} within 20 seconds`);
}

async function asked(key: string): Promise<number> {
  const answer = await fetch(`${origin}/v1beta/models/gemini-2.5-flash:generateContent`, {
    method: 'POST',
    headers: { 'x-goog-api-key': key, 'content-type': 'application/json' },
    body: JSON.stringify({ contents: [{ parts: [{ text: 'Hello' }] }] }),
  });
  await answer.arrayBuffer();
  return answer.status;
}

async function sessions(): Promise<void> {
  assert((await refused(api.GET('/session'))) === 'not_logged_in', 'nobody is logged in');
  const login = await good(api.POST('/login', { body: { username: 'admin', password } }));
  token = login.access_token;
  assert((await good(api.GET('/session'))).name === 'admin', 'who am I');
}

async function keys(): Promise<number[]> {
  const first = await api.POST('/keys', {
    body: { key: 'AIza-typed-0001', label: 'first', project: 'alpha', tags: ['typed'] },
    params: { header: { 'Idempotency-Key': 'typed-first' } },
  });
  const again = await good(api.POST('/keys', {
    body: { key: 'AIza-typed-0001', label: 'first', project: 'alpha', tags: ['typed'] },
    params: { header: { 'Idempotency-Key': 'typed-first' } },
  }));
  assert(first.data !== undefined && first.data.id === again.id, 'a repetition is harmless');
  const added = await good(api.POST('/keys/bulk_add', {
    body: { keys: ['AIza-typed-0002', { key: 'AIza-typed-0003', project: 'beta' }, 'not a key', 'AIza-typed-0001'] },
  }));
  const results = added.results.map(({ result }) => result);
  assert(results.join() === 'added,added,invalid,duplicate', results.join());
  assert(added.results[2]?.reason === 'bad_characters' && added.results[3]?.reason === 'in_pool', 'each says why not');
  const report = await good(api.POST('/keys/import', { body: { keys: ['AIza-typed-0004'], dry_run: true } }));
  assert(report.dry_run && report.keys[0]?.result === 'new', 'a dry run adds nothing');
  const list = await good(api.GET('/keys', { params: { query: { sort: 'id', limit: 2 } } }));
  assert(list.total === 3 && list.keys.length === 2 && list.next !== undefined, 'a page of three');
  const rest = await good(api.GET('/keys', { params: { query: { sort: 'id', limit: 2, cursor: list.next ?? '' } } }));
  const ids = [...list.keys, ...rest.keys].map(({ id }) => id);

  const [one, two, three] = ids;
  assert(one !== undefined && two !== undefined && three !== undefined, 'three keys');
  const path = { key_id: one };
  const seen = await api.GET('/keys/{key_id}/summary', { params: { path } });
  const etag = seen.response.headers.get('etag') ?? '';
  const patch = { params: { path, header: { 'If-Match': etag } }, body: { note: 'the first of them', weight: 2 } };
  assert((await good(api.PATCH('/keys/{key_id}', patch))).weight === 2, 'it weighs more');
  assert((await refused(api.PATCH('/keys/{key_id}', patch))) === 'changed_meanwhile', 'an old version is refused');
  assert((await good(api.GET('/keys/{key_id}', { params: { path } }))).key === 'AIza-typed-0001', 'the full key');
  assert((await good(api.POST('/keys/{key_id}/test', { params: { path }, body: {} }))).passed, 'it passes');
  await good(api.POST('/keys/{key_id}/reset', { params: { path } }));
  await good(api.POST('/keys/bulk_disable', { body: { ids: [two, three] } }));
  assert((await good(api.GET('/keys', { params: { query: { state: 'disabled' } } }))).keys.length === 2, 'two rest');
  await good(api.POST('/keys/bulk_enable', { body: { ids: [two, three] } }));
  await good(api.POST('/keys/bulk_reset', { body: { ids } }));
  await good(api.POST('/keys/bulk_tag', { body: { ids, add: ['all'] } }));
  await good(api.POST('/keys/bulk_update', { body: { ids: [two], set: { project: 'beta' } } }));
  assert((await good(api.GET('/keys', { params: { query: { tag: 'all' } } }))).keys.length === 3, 'all have the tag');
  const job = await good(api.POST('/keys/bulk_test', { body: { ids } }));
  const done = await until('end of the tests', async () => {
    const now = await good(api.GET('/jobs/{job_id}', { params: { path: { job_id: job.id } } }));
    return now.state === 'running' ? undefined : now;
  });
  assert(done.results.every(({ test }) => test?.passed), 'all pass');
  assert((await good(api.GET('/jobs'))).jobs.some(({ id, passed }) => id === job.id && passed === 3), 'it is listed');
  await good(api.DELETE('/jobs/{job_id}', { params: { path: { job_id: job.id } } }));
  const exported = await good(api.POST('/keys/export', { body: { ids: [three] } }));
  assert(exported.keys[0]?.key === 'AIza-typed-0003', 'an export has the secret');
  return ids;
}

async function clients(): Promise<void> {
  const made = await good(api.POST('/allowed_keys', { body: { name: 'typed', requests_per_day: 100 } }));
  assert(made.secret !== undefined && made.secret !== null, 'the secret is shown once');
  assert((await asked(made.secret)) === 200, 'an app gets answers with it');
  const path = { key_id: made.id };
  await good(api.PUT('/allowed_keys/{key_id}', { params: { path }, body: { note: 'changed' } }));
  const view = await good(api.GET('/allowed_keys/{key_id}', { params: { path } }));
  assert(view.note === 'changed' && view.requests_per_day === 100, 'what was not named stays');
  const turned = await good(api.POST('/allowed_keys/{key_id}/rotate', { params: { path }, body: {} }));
  assert((await asked(made.secret)) === 401 || (await asked(made.secret)) === 400, 'the old secret is refused');
  assert((await asked(turned.secret ?? '')) === 200, 'the new one serves');
  assert((await good(api.GET('/allowed_keys'))).allowed_keys.some(({ id }) => id === made.id), 'it is listed');
  await good(api.DELETE('/allowed_keys/{key_id}', { params: { path } }));
}

async function looking(ids: number[]): Promise<void> {
  assert((await asked(clientKey)) === 200, 'an app asks');
  const requests = await until('request in the log', async () => {
    const page = await good(api.GET('/request_logs', { params: { query: { limit: 5 } } }));
    return page.request_logs.length > 0 ? page.request_logs : undefined;
  });
  const request = requests[0];
  assert(request !== undefined, 'a request');
  const detail = await good(api.GET('/request_logs/{log_id}', { params: { path: { log_id: request.id } } }));
  assert(detail.attempts.length === 1 && detail.status === 200, 'one try');
  const counts = await good(api.GET('/request_logs/counts'));
  assert(counts.outcomes.some(({ outcome }) => outcome === 'complete'), 'they are counted');
  const csv = await good(api.GET('/request_logs/export', {
    params: { query: { format: 'csv' } }, parseAs: 'text',
  }) as Promise<{ data?: string; error?: Problem; response: Response }>);
  assert(csv.split('\n').length > 2, 'they are exported');
  const explained = await good(api.GET('/explain', { params: { query: { request_id: request.id } } }));
  assert(explained.moments.length === 1, 'they are explained');

  const key = ids[0];
  assert(key !== undefined, 'a key');
  const of = { params: { path: { key_id: key } } };
  assert((await good(api.GET('/keys/{key_id}/history', of))).events.length > 3, 'it has a history');
  assert((await good(api.GET('/keys/{key_id}/usage', of))).heartbeat.cells.length > 0, 'it has a heartbeat');
  assert((await good(api.GET('/status'))).keys.total === 3, 'three keys at a glance');
  assert((await good(api.GET('/models'))).keys.length === 3, 'three keys in the grid');
  const some = await good(api.GET('/models', { params: { query: { project: 'beta', q: '003' } } }));
  assert(some.keys.length === 1 && some.matching === 1 && some.total === 3, 'one of them by its project');
  assert((await good(api.GET('/projects'))).projects.some(({ name }) => name === 'beta'), 'the project is there');
  await good(api.GET('/resources'));

  const page = await good(api.GET('/events', { params: { query: { order: 'desc', limit: 3 } } }));
  const newest = page.events[0];
  assert(newest !== undefined && newest.seq === page.head, 'the newest is the head');
  assert((await good(api.GET('/events/{seq}', { params: { path: { seq: newest.seq } } }))).type === newest.type, 'it');
  const density = await good(api.GET('/events/density', { params: { query: { buckets: 10 } } }));
  assert(density.buckets.reduce((all, { events }) => all + events, 0) > 10, 'they lie somewhere');
  const stream = await api.GET('/events/stream', { params: { query: { after: 0 } }, parseAs: 'stream' });
  const reader = (stream.data as ReadableStream<Uint8Array>).getReader();
  const first = new TextDecoder().decode((await reader.read()).value);
  await reader.cancel();
  assert(first.includes('id: 1') || first.startsWith(':') || first.startsWith('retry'), `a feed: ${first}`);
  const then = await good(api.GET('/state', { params: { query: { at: '5' } } }));
  assert(then.seq === 5, 'the pool as it was');
  const diff = await good(api.GET('/state/diff', { params: { query: { from: '5', to: String(page.head) } } }));
  assert(diff.changes.some(({ kind, change }) => kind === 'key' && change === 'added'), 'keys were added since');
}

async function upkeep(ids: number[]): Promise<void> {
  const settings = await api.GET('/settings');
  const etag = settings.response.headers.get('etag') ?? '';
  const changed = await good(api.PATCH('/settings', {
    params: { header: { 'If-Match': etag } }, body: { MAX_ATTEMPTS: '4' },
  }));
  assert(changed.settings.find(({ name }) => name === 'MAX_ATTEMPTS')?.value === '4', 'it is in force');
  await good(api.POST('/audit'));
  const audit = await until('end of the audit', async () => (await good(api.GET('/audit'))).last ?? undefined);
  assert(audit.intact && audit.findings.length === 0, 'the log is intact');
  const backup = await api.GET('/backup', { parseAs: 'blob' });
  assert(((backup.data as Blob | undefined)?.size ?? 0) > 1_000, 'a backup');
  const resealed = await good(api.POST('/master_key', { body: {} }));
  assert(resealed.secrets >= ids.length, 'all secrets are sealed anew');
  const [one, ...rest] = ids;
  assert(one !== undefined, 'a key');
  await good(api.DELETE('/keys/{key_id}', { params: { path: { key_id: one } } }));
  await good(api.POST('/keys/bulk_delete', { body: { ids: rest } }));
  assert((await good(api.GET('/keys'))).total === 0, 'none is left');
}

async function leaving(): Promise<void> {
  const next = 'another password for tests';
  await good(api.POST('/admin/password', { body: { current_password: password, new_password: next } }));
  token = (await good(api.POST('/login', { body: { username: 'admin', password: next } }))).access_token;
  await good(api.POST('/logout'));
  assert((await refused(api.GET('/session'))) === 'not_logged_in', 'logged out');
}

await sessions();
const ids = await keys();
await clients();
await looking(ids);
await upkeep(ids);
await leaving();

const document: { paths: Record<string, Record<string, unknown>> } = JSON.parse(
  readFileSync('openapi.json', 'utf8'),
);
const all = Object.entries(document.paths).flatMap(([path, verbs]) =>
  Object.keys(verbs).map((verb) => `${verb.toUpperCase()} ${path}`),
);
const unused = all.filter((operation) => !used.has(operation));
assert(unused.length === 0, `this client never used ${unused.join(', ')}`);
console.log(`${used.size} operations`);
