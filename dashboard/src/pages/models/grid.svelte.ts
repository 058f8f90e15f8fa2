import { api, asProblem, isAbort, ok, type Problem, type Schema } from '$lib/api/client';

export type GridRow = Schema<'GridRow'>;
export type ModelCell = Schema<'ModelCell'>;

/** Keys in one answer: each comes with a cell for every model. */
const PAGE = 100;

export interface GridQuery {
  model: string;
  q: string;
  project: string;
  key: number | undefined;
}

/** Keys by models, page by page as far as somebody looked; what changes is changed where it stands. */
export class Grid {
  rows = $state.raw<GridRow[]>([]);
  models = $state.raw<Schema<'ModelSummary'>[]>([]);
  loading = $state(false);
  loaded = $state(false);
  error = $state.raw<Problem | undefined>();

  #query: GridQuery = { model: '', q: '', project: '', key: undefined };
  #pages: { cursor: string | undefined; keys: number[] }[] = [];
  #next: string | undefined;
  #stop = new AbortController();
  #more = false;

  async load(query: GridQuery): Promise<void> {
    this.leave();
    this.#stop = new AbortController();
    this.#query = query;
    const { signal } = this.#stop;
    this.loading = true;
    try {
      this.#next = undefined;
      this.#pages = [];
      const page = await this.#ask(undefined, signal);
      this.#pages = [{ cursor: undefined, keys: page.keys.map((row) => row.key) }];
      this.#next = page.next ?? undefined;
      this.rows = page.keys;
      this.models = page.models;
      this.error = undefined;
      this.loaded = true;
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      const problem = asProblem(error);
      // No such key is no row, rather than something that went wrong.
      if (problem.code === 'not_found') {
        this.rows = [];
        this.loaded = true;
      } else this.error = problem;
    }
    this.loading = false;
  }

  again = (): Promise<void> => this.load(this.#query);

  more = async (): Promise<void> => {
    const { signal } = this.#stop;
    const cursor = this.#next;
    if (cursor === undefined || this.#more || this.loading) return;
    this.#more = true;
    try {
      const page = await this.#ask(cursor, signal);
      if (signal.aborted) return;
      this.#pages.push({ cursor, keys: page.keys.map((row) => row.key) });
      this.#next = page.next ?? undefined;
      this.rows = [...this.rows, ...page.keys];
    } catch (error) {
      if (!signal.aborted && !isAbort(error)) this.error = asProblem(error);
    } finally {
      this.#more = false;
    }
  };

  /** Keys that are gone leave their places; whoever looks at others further down stays where they are. */
  drop(gone: ReadonlySet<number>): void {
    if (gone.size > 0) this.rows = this.rows.filter((row) => !gone.has(row.key));
  }

  /** Loads again what is in sight, and the summaries. */
  async freshen(keys: readonly number[]): Promise<void> {
    const { signal } = this.#stop;
    const seen = new Set(keys);
    try {
      for (const page of this.#pages.filter((one) => one.keys.some((key) => seen.has(key)))) {
        const answer = await this.#ask(page.cursor, signal);
        if (signal.aborted) return;
        const fresh = new Map(answer.keys.map((row) => [row.key, row]));
        this.models = answer.models;
        this.drop(new Set(page.keys.filter((key) => !fresh.has(key))));
        this.rows = this.rows.map((row) => fresh.get(row.key) ?? row);
        // New keys come at the end.
        if (page !== this.#pages.at(-1)) continue;
        const known = new Set(this.rows.map((row) => row.key));
        this.rows = [...this.rows, ...answer.keys.filter((row) => !known.has(row.key))];
        page.keys = [...fresh.keys()];
        this.#next = answer.next ?? undefined;
      }
      this.error = undefined;
    } catch (error) {
      if (!signal.aborted && !isAbort(error)) this.error = asProblem(error);
    }
  }

  leave(): void {
    this.#stop.abort();
    this.#more = false;
  }

  #ask(cursor: string | undefined, signal: AbortSignal) {
    const { model, q, project, key } = this.#query;
    const query = {
      ...(model ? { model } : {}),
      ...(q ? { q } : {}),
      ...(project ? { project } : {}),
      ...(key === undefined ? {} : { key }),
      ...(cursor === undefined ? {} : { cursor }),
      limit: PAGE,
    };
    return ok(api.GET('/models', { params: { query }, signal }));
  }
}
