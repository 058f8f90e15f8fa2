import { api, asProblem, isAbort, ok, Problem, type Schema } from '$lib/api/client';
import type { FeedEvent } from '$lib/feed';
import type { paths } from '$lib/api/schema';

export type KeyView = Schema<'KeyView'>;
export type KeyQuery = Omit<NonNullable<paths['/keys']['get']['parameters']['query']>, 'limit' | 'cursor'>;

/** Keys in one answer. Small enough that reading one is nothing to be felt while scrolling. */
const PAGE = 100;
/** Rows in sight that are made fresh in one frame. */
const AT_ONCE = 6;
/** Rows of which one by one is asked, because they left the page that they were on. */
const ASKED = 30;

interface Page {
  cursor: string | undefined;
  ids: number[];
}

/**
 * The keys that the filters leave, loaded page by page as far as somebody looked. Rows do not jump: what changes
 * is changed where it stands, also where it would now be elsewhere, until the list is loaded anew.
 */
export class KeyList {
  rows = $state.raw<KeyView[]>([]);
  total = $state<number>();
  matching = $state<number>();
  /** The first page is on its way. */
  loading = $state(false);
  error = $state.raw<Problem | undefined>();
  /** Keys that were added meanwhile, and may have their place here. */
  added = $state(0);
  complete = $state(false);

  #query: KeyQuery = {};
  #pages: Page[] = [];
  #next: string | undefined;
  #stop = new AbortController();
  #more: Promise<void> | undefined;
  #byId = $derived(new Map(this.rows.map((row) => [row.id, row])));

  get(id: number): KeyView | undefined {
    return this.#byId.get(id);
  }

  /** Loads the beginning. */
  async load(query: KeyQuery): Promise<void> {
    this.leave();
    this.#stop = new AbortController();
    this.#query = query;
    const { signal } = this.#stop;
    this.loading = true;
    try {
      const answer = await this.#ask(undefined, signal, true);
      this.#pages = [];
      this.#take(undefined, answer, []);
      this.added = 0;
      this.error = undefined;
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      this.error = asProblem(error);
    }
    this.loading = false;
  }

  again = (): Promise<void> => this.load(this.#query);

  /** Loads one more page. */
  more = (): Promise<void> => {
    if (this.loading || this.#next === undefined) return Promise.resolve();
    this.#more ??= this.#loadMore().finally(() => (this.#more = undefined));
    return this.#more;
  };

  /** Loads all pages; false: it did not come to that. */
  async all(progress: (done: number, of: number) => void): Promise<boolean> {
    const { signal } = this.#stop;
    while (!signal.aborted && this.#next !== undefined && this.error === undefined) {
      await this.more();
      progress(this.rows.length, this.matching ?? this.rows.length);
    }
    return !signal.aborted && this.#next === undefined;
  }

  /** Loads again what is in sight. */
  async freshen(ids: readonly number[]): Promise<void> {
    const { signal } = this.#stop;
    const seen = new Set(ids);
    const pages = this.#pages.filter((page) => page.ids.some((id) => seen.has(id)));
    try {
      const fresh = new Map<number, KeyView>();
      for (const page of pages) {
        for (const key of (await this.#ask(page.cursor, signal, true)).keys) fresh.set(key.id, key);
      }
      const strayed = ids.filter((id) => this.#byId.has(id) && !fresh.has(id)).slice(0, ASKED);
      const gone = new Set<number>();
      const waiting = new Set<number>();
      for (const id of strayed) {
        const key = await summary(id, signal);
        if (key) fresh.set(id, { ...key, heartbeat: this.#byId.get(id)?.heartbeat ?? null });
        else gone.add(id);
      }
      // What is drawn anew comes a few rows a frame: all at once would be felt while scrolling.
      for (let at = 0; at < ids.length; at += AT_ONCE) {
        for (const id of ids.slice(at + AT_ONCE)) waiting.add(id);
        this.rows = this.rows.flatMap((row) => {
          if (gone.has(row.id)) return [];
          const now = waiting.has(row.id) ? undefined : fresh.get(row.id);
          // What events and changes said meanwhile is newer than what was asked.
          return [now && now.revision >= row.revision ? now : row];
        });
        for (const id of ids.slice(at, at + AT_ONCE)) fresh.delete(id);
        waiting.clear();
        await new Promise((resolve) => setTimeout(resolve, 16));
        if (signal.aborted) return;
      }
      this.error = undefined;
    } catch (error) {
      if (!signal.aborted && !isAbort(error)) this.error = asProblem(error);
    }
  }

  /** Puts in what a call answered. */
  put(key: KeyView): void {
    this.rows = this.rows.map((row) => (row.id === key.id ? { ...key, heartbeat: row.heartbeat ?? null } : row));
  }

  /** What events say by themselves needs no loading. */
  hear(events: readonly FeedEvent[]): void {
    const gone = new Set<number>();
    const said = new Map<number, Partial<KeyView>>();
    for (const { type, seq, event } of events) {
      const id = Number(event['key']);
      if (type === 'KeyAdded' && !this.#byId.has(id)) this.added += 1;
      else if (type === 'KeyRemoved') gone.add(id);
      else if (type === 'KeyUpdated') said.set(id, { ...said.get(id), ...changesOf(event), revision: seq });
    }
    if (gone.size === 0 && said.size === 0) return;
    const before = this.rows.length;
    this.rows = this.rows.flatMap((row) => (gone.has(row.id) ? [] : [{ ...row, ...said.get(row.id) }]));
    const left = before - this.rows.length;
    if (this.matching !== undefined) this.matching -= left;
    if (this.total !== undefined) this.total -= gone.size;
  }

  leave(): void {
    this.#stop.abort();
    this.#more = undefined;
  }

  async #loadMore(): Promise<void> {
    const { signal } = this.#stop;
    const cursor = this.#next;
    try {
      const answer = await this.#ask(cursor, signal);
      if (!signal.aborted) this.#take(cursor, answer, this.rows);
    } catch (error) {
      if (!signal.aborted && !isAbort(error)) this.error = asProblem(error);
    }
  }

  /** A page; with the keys' last days only where they are seen, for those weigh more than all the rest. */
  #ask(cursor: string | undefined, signal: AbortSignal, heartbeat = false) {
    const query = { ...this.#query, limit: PAGE, ...(heartbeat ? { heartbeat } : {}), ...(cursor === undefined ? {} : { cursor }) };
    return ok(api.GET('/keys', { params: { query }, signal }));
  }

  #take(cursor: string | undefined, answer: Schema<'KeyList'>, before: readonly KeyView[]): void {
    // A key that moved between two pages may be on both.
    const known = new Set(before.map((row) => row.id));
    const keys = answer.keys.filter((key) => !known.has(key.id));
    this.#pages.push({ cursor, ids: answer.keys.map((key) => key.id) });
    this.rows = [...before, ...keys];
    this.#next = answer.next ?? undefined;
    this.complete = this.#next === undefined;
    this.total = answer.total;
    this.matching = answer.matching;
  }
}

async function summary(key_id: number, signal: AbortSignal): Promise<KeyView | undefined> {
  try {
    return await ok(api.GET('/keys/{key_id}/summary', { params: { path: { key_id } }, signal }));
  } catch (error) {
    if (error instanceof Problem && error.code === 'not_found') return undefined;
    throw error;
  }
}

/** The fields that a `KeyUpdated` says; its project and proxy are told by the API alone, which knows their names. */
function changesOf(event: Record<string, unknown>): Partial<KeyView> {
  const fields = ['label', 'note', 'tags', 'weight', 'priority', 'models'] as const;
  const said = fields.filter((field) => event[field] !== null && event[field] !== undefined);
  const changes: Record<string, unknown> = Object.fromEntries(said.map((field) => [field, event[field]]));
  const project = event['project'];
  if (typeof project === 'object' && project !== null && 'to' in project) {
    Object.assign(changes, { project: project.to, declared: true });
  }
  return changes;
}
