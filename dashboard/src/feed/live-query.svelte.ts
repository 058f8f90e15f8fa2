import { untrack } from 'svelte';

import { asProblem, isAbort, type Problem } from '$lib/api/problem';
import { session } from '$lib/api/session.svelte';
import { feed, type EventType, type FeedEvent } from './feed.svelte';

export interface LiveOptions {
  /** Loads again after events of these types … */
  refreshOn?: readonly EventType[];
  /** … of which at least one is so. */
  when?: (event: FeedEvent) => boolean;
  /** Loads again after so many milliseconds, while the page is to be seen. */
  every?: number;
  /** Least milliseconds between two loads that events ask for (default 1000). */
  gap?: number;
}

/** A resource of the API that stays fresh. */
export class LiveQuery<T> {
  data = $state.raw<T | undefined>(undefined);
  /** Why the last load failed; `data` is then what was loaded before. */
  error = $state.raw<Problem | undefined>(undefined);
  /** A load is under way. */
  loading = $state(false);
  /** `data` answers another question (an older filter), and the new answer is on its way. */
  stale = $state(false);
  /** When `data` was loaded, in milliseconds since 1970. */
  updatedAt = $state(0);

  #load: (signal: AbortSignal) => Promise<T>;
  #running: AbortController | undefined;
  #again = false;
  #started = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #gap: number;

  constructor(load: (signal: AbortSignal) => Promise<T>, gap: number) {
    this.#load = load;
    this.#gap = gap;
  }

  /** Loads now; a load under way is given up. */
  refresh = (): Promise<void> => {
    this.leave();
    return this.#go();
  };

  /** Loads soon: what is asked for many times in a second is loaded once. */
  soon = (): void => {
    // Nothing is answered until somebody logs in again, and then everything is loaded.
    if (session.state !== 'in') return;
    if (this.#running) {
      this.#again = true;
    } else {
      const wait = Math.max(0, this.#started + this.#gap - Date.now());
      this.#timer ??= setTimeout(() => void this.#go(), wait);
    }
  };

  /** Puts in what a change answered, before the next load says the same. */
  set(data: T): void {
    this.data = data;
  }

  leave(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running?.abort();
    this.#running = undefined;
    this.#again = false;
  }

  async #go(): Promise<void> {
    this.#timer = undefined;
    const mine = new AbortController();
    this.#running = mine;
    this.#started = Date.now();
    // What `load` reads before it waits is what the effect below follows; what is written here is not.
    const promise = this.#load(mine.signal);
    untrack(() => (this.loading = true));
    try {
      const data = await promise;
      if (this.#running !== mine) return;
      this.data = data;
      this.error = undefined;
      this.stale = false;
      this.updatedAt = Date.now();
    } catch (error) {
      if (this.#running !== mine || isAbort(error)) return;
      this.error = asProblem(error);
      this.stale = false;
    }
    this.#running = undefined;
    this.loading = false;
    if (this.#again) {
      this.#again = false;
      this.soon();
    }
  }
}

/**
 * Loads a resource while the component is there, and again whenever what `load` reads (filters of the URL, props)
 * changes, events of `refreshOn` come, `every` has passed, or somebody logged in again. Call it while a component
 * is being set up:
 *
 *     const keys = liveQuery((signal) => ok(api.GET('/keys', { params: { query: { q: filter.value.q } }, signal })),
 *       { refreshOn: ['KeyAdded', 'KeyRemoved'] });
 *     {#if keys.data} … {:else if keys.error} <ErrorBox problem={keys.error} retry={keys.refresh} /> {/if}
 */
export function liveQuery<T>(load: (signal: AbortSignal) => Promise<T>, options: LiveOptions = {}): LiveQuery<T> {
  const query = new LiveQuery(load, options.gap ?? 1_000);
  $effect(() => {
    // A login is a reason to load again.
    void session.epoch;
    untrack(() => (query.stale = query.data !== undefined));
    void query.refresh();
    return () => query.leave();
  });
  $effect(() => {
    const { refreshOn = [], when, every } = options;
    const off =
      refreshOn.length === 0
        ? () => {}
        : feed.on(refreshOn, ({ events, gap }) => {
            if (gap || !when || events.some(when)) query.soon();
          });
    const look = () => {
      if (document.visibilityState === 'visible') query.soon();
    };
    const timer = every === undefined ? undefined : setInterval(look, every);
    if (every !== undefined) document.addEventListener('visibilitychange', look);
    return () => {
      off();
      clearInterval(timer);
      document.removeEventListener('visibilitychange', look);
    };
  });
  return query;
}
