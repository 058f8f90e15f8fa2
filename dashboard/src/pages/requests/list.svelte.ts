import { asProblem, isAbort, type Problem } from '$lib/api/problem';
import type { Schema } from '$lib/api/client';
import type { Row } from './filter';

export type Page = Schema<'RequestLogList'>;
type Load = (cursor: string | undefined, limit: number, signal: AbortSignal) => Promise<Page>;

const PAGE = 200;
/** As many rows as are kept while new ones come; older ones are loaded again when somebody scrolls to them. */
const LIVE = 2_000;
/** As many rows as are kept at all. */
export const MOST = 10_000;
/** Least milliseconds between two looks for new rows. */
const PACE = 400;

/**
 * The rows that are shown, page by page from the newest, and those that came meanwhile and wait. Owns no filter: it
 * begins anew with another `load`. Its memory is bounded.
 */
export class RequestList {
  rows = $state.raw<Row[]>([]);
  /** Newer ones, that wait to be shown. */
  fresh = $state.raw<Row[]>([]);
  /** More came than are waiting. */
  overflown = $state(false);
  next = $state<string | undefined>();
  loading = $state(true);
  /** Rows answer an older filter. */
  stale = $state(false);
  error = $state.raw<Problem | undefined>();
  indexing = $state.raw<Page['indexing']>();
  bodies = $state.raw<Page['bodies']>();

  #load: Load | undefined;
  #stop = new AbortController();
  #more = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #looked = 0;
  #again = false;
  /** The newest page that was looked at, and where it goes on: the list can be cut there. */
  #newest: Page | undefined;

  get capped(): boolean {
    return this.rows.length >= MOST && this.next !== undefined;
  }

  /** Begins with the newest page; what is shown stays until it is there. */
  async start(load: Load): Promise<void> {
    this.leave();
    const { signal } = (this.#stop = new AbortController());
    this.#load = load;
    this.loading = true;
    this.stale = true;
    try {
      const page = await load(undefined, PAGE, signal);
      if (signal.aborted) return;
      this.#begin(page);
      this.error = undefined;
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      this.error = asProblem(error);
    }
    this.loading = this.stale = false;
  }

  /** Loads the next older page. */
  async older(): Promise<void> {
    const { signal } = this.#stop;
    if (this.#more || !this.next || !this.#load || this.stale || this.rows.length >= MOST) return;
    this.#more = true;
    this.loading = true;
    const from = this.next;
    try {
      const page = await this.#load(from, PAGE, signal);
      // The list may have been cut, or begun anew, meanwhile.
      if (!signal.aborted && this.next === from) {
        this.rows = [...this.rows, ...page.request_logs];
        this.next = page.next ?? undefined;
      }
    } catch (error) {
      if (!signal.aborted && !isAbort(error)) this.error = asProblem(error);
    }
    this.#more = false;
    if (!signal.aborted) this.loading = false;
  }

  /** Something came: looks for it soon. */
  soon(): void {
    if (!this.#load) return;
    this.#timer ??= setTimeout(() => void this.#look(), Math.max(0, this.#looked + PACE - Date.now()));
  }

  /** Shows what waits. */
  show(): void {
    const page = this.#newest;
    if (this.overflown && page) {
      this.rows = page.request_logs;
      this.next = page.next ?? undefined;
    } else if (this.rows.length + this.fresh.length > LIVE && page) {
      this.rows = page.request_logs;
      this.next = page.next ?? undefined;
    } else {
      this.rows = [...this.fresh, ...this.rows];
    }
    this.fresh = [];
    this.overflown = false;
  }

  leave(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#stop.abort();
    this.#more = this.#again = false;
  }

  #begin(page: Page): void {
    this.rows = page.request_logs;
    this.next = page.next ?? undefined;
    this.fresh = [];
    this.overflown = false;
    this.#newest = page;
    this.#take(page);
  }

  #take(page: Page): void {
    this.indexing = page.indexing ?? undefined;
    this.bodies = page.bodies ?? undefined;
  }

  async #look(): Promise<void> {
    const { signal } = this.#stop;
    // While one look is under way the timer stands for it.
    if (!this.#load || this.#again) return;
    this.#again = true;
    this.#looked = Date.now();
    this.#timer = undefined;
    try {
      const page = await this.#load(undefined, PAGE, signal);
      if (signal.aborted) return;
      this.error = undefined;
      this.#compare(page);
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      const told = asProblem(error);
      // That the server is away is said by the shell already, and a box would push down the rows that are read.
      if (this.rows.length === 0 || ![0, 502, 504].includes(told.status)) this.error = told;
    } finally {
      if (!signal.aborted) this.#again = false;
    }
  }

  #compare(page: Page): void {
    const known = this.fresh[0] ?? this.rows[0];
    const first = page.request_logs[0];
    this.#take(page);
    if (!known || (first && first.seq < known.seq)) {
      // Nothing was there before; or this is another log, on which a backup was put back.
      if (!known && page.request_logs.length === 0) return;
      this.#begin(page);
      return;
    }
    this.#newest = page;
    const newer = page.request_logs.filter((row) => row.seq > known.seq);
    const gap = newer.length === page.request_logs.length && page.next != null;
    if (this.overflown || gap || this.fresh.length + newer.length > LIVE) {
      this.fresh = page.request_logs;
      this.overflown = true;
    } else if (newer.length > 0) {
      this.fresh = [...newer, ...this.fresh];
    }
  }
}
