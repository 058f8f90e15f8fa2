import { api, ok, Problem, type Schema } from '$lib/api/client';
import { session } from '$lib/api/session.svelte';
import { readKeysText, type FoundKey, type KeysText } from '$lib/keys-text';

/** What becomes of a key of the text: what the text itself shows, then what the pool says. */
export type Fate = 'new' | 'duplicate' | 'repeated' | 'invalid' | 'unknown';

export interface Line {
  place: number;
  key: FoundKey;
  fate: Fate;
}

type Assign = 'none' | 'all' | 'each';
type Job = Schema<'JobView'>;

const JOB = 'gemini-pool.welcome.job';
const CLIENT = 'gemini-pool.welcome.client';

/** What is no secret outlives a reload of the page; storage may be forbidden. */
function remember(name: string, value: string | undefined): void {
  try {
    if (value === undefined) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, value);
  } catch {
    // Then it lasts as long as the page.
  }
}

function remembered(name: string): string | undefined {
  try {
    return sessionStorage.getItem(name) ?? undefined;
  } catch {
    return undefined;
  }
}

/**
 * The first run, which can be left for another page and come back to: drafts and the made secret live in memory only
 * and are gone with the page; numbers of jobs and clients outlive a reload.
 */
class Setup {
  /** Which steps are open; none: nobody was here yet. */
  open = $state<Record<number, boolean>>({});
  text = $state('');
  assign = $state<Assign>('none');
  /** The project of all keys. */
  project = $state('');
  /** Projects by secret, where each has its own. */
  projects = $state<Record<string, string>>({});
  withClients = $state(true);
  /** The pool's answers to what was asked of the text: by secret. */
  #told = $state.raw<ReadonlyMap<string, Fate>>(new Map());
  checking = $state(false);
  checkProblem = $state.raw<unknown>(undefined);

  added = $state.raw<{ fresh: number; known: number; clients: number } | undefined>(undefined);
  job = $state.raw<Job | undefined>(undefined);
  jobId = $state<string | undefined>(remembered(JOB));
  jobProblem = $state.raw<unknown>(undefined);

  made = $state.raw<{ id: number; name: string; secret: string } | undefined>(undefined);
  clientId = $state<number | undefined>(Number(remembered(CLIENT)) || undefined);

  found: KeysText = $derived(readKeysText(this.text));
  lines: Line[] = $derived(this.found.keys.map((key, at) => ({ place: at + 1, key, fate: this.#fate(key) })));
  counts = $derived.by(() => {
    const counts: Record<Fate, number> = { new: 0, duplicate: 0, repeated: 0, invalid: 0, unknown: 0 };
    for (const { fate } of this.lines) counts[fate] += 1;
    return counts;
  });

  #fate(key: FoundKey): Fate {
    if (key.state === 'repeated') return 'repeated';
    if (key.state === 'malformed') return 'invalid';
    return this.#told.get(key.secret) ?? 'unknown';
  }

  #entries(): Schema<'KeyEntry'>[] {
    return this.found.keys
      .filter(({ state }) => state === 'good')
      .map(({ secret, fields }) => {
        const own = this.assign === 'all' ? this.project.trim() : this.assign === 'each' ? this.projects[secret]?.trim() : '';
        return { ...fields, key: secret, ...(own ? { project: own } : {}) };
      });
  }

  /** Asks the pool what would become of the keys; nothing is changed. */
  async check(signal: AbortSignal): Promise<void> {
    const keys = this.#entries();
    this.checkProblem = undefined;
    this.checking = keys.length > 0;
    if (keys.length === 0) return;
    try {
      const report = await ok(api.POST('/keys/import', { body: { keys, dry_run: true }, signal }));
      this.#told = new Map(keys.map(({ key }, at): [string, Fate] => [key, report.keys[at]?.result ?? 'unknown']));
    } catch (error) {
      if (!signal.aborted) this.checkProblem = error;
    } finally {
      if (!signal.aborted) this.checking = false;
    }
  }

  /** Adds them all, or none, and begins to test them. Known ones are left as they are, so it may be repeated. */
  async add(): Promise<void> {
    const keys = this.#entries();
    const clients = this.withClients ? this.found.clients : [];
    const report = await ok(api.POST('/keys/import', { body: { keys, clients } }));
    const count = (result: string) => report.keys.filter((one) => one.result === result).length;
    this.added = {
      fresh: count('new'),
      known: count('duplicate'),
      clients: report.clients.filter(({ result }) => result === 'new').length,
    };
    this.text = '';
    this.projects = {};
    this.#told = new Map();
    const ids = report.keys.flatMap(({ id }) => (id == null ? [] : [id]));
    if (ids.length > 0) await this.test(ids);
  }

  /** Tests keys by the smallest question there is; none named: every key that is turned on. */
  async test(ids?: number[]): Promise<void> {
    this.jobProblem = undefined;
    this.job = undefined;
    try {
      const job = await ok(api.POST('/keys/bulk_test', { body: { ids: ids ?? (await everyKey()) } }));
      this.job = job;
      this.jobId = job.id;
      remember(JOB, job.id);
    } catch (error) {
      this.jobProblem = error;
    }
  }

  /** Looks how far the test is; one of an earlier run of the server is forgotten. */
  async look(signal: AbortSignal): Promise<void> {
    if (this.jobId === undefined) return;
    try {
      this.job = await ok(api.GET('/jobs/{job_id}', { params: { path: { job_id: this.jobId } }, signal }));
      this.jobProblem = undefined;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem && error.code === 'not_found')) {
        this.jobProblem = error;
        return;
      }
      this.job = undefined;
      this.jobId = undefined;
      remember(JOB, undefined);
    }
  }

  forget(): void {
    this.text = '';
    this.projects = {};
    this.#told = new Map();
    this.added = undefined;
    this.made = undefined;
  }

  async makeClient(name: string): Promise<void> {
    const made = await ok(api.POST('/allowed_keys', { body: { name } }));
    this.made = { id: made.id, name: made.name, secret: made.secret ?? '' };
    this.clientId = made.id;
    remember(CLIENT, String(made.id));
  }
}

export const setup = new Setup();

// Secrets do not wait for whoever logs in next.
$effect.root(() => {
  $effect(() => {
    if (session.state === 'out') setup.forget();
  });
});

/** The numbers of all keys that are turned on. */
async function everyKey(): Promise<number[]> {
  const ids: number[] = [];
  let cursor: string | undefined;
  do {
    const page = await ok(api.GET('/keys', { params: { query: { limit: 1000, ...(cursor ? { cursor } : {}) } } }));
    ids.push(...page.keys.filter(({ state }) => state !== 'disabled').map(({ id }) => id));
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  return ids;
}
