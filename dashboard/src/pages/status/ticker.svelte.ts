import { untrack } from 'svelte';

import { api, ok } from '$lib/api/client';
import { feed, liveQuery, type FeedEvent } from '$lib/feed';
import { shown } from './describe';

/** Lines on the screen. */
const MOST = 40;
/** Events asked for at the beginning: enough for that many lines, for tries that succeeded are left out. */
const BEGINNING = 80;

/**
 * The last events, newest first, each once and none left out: what is stored, then what the feed tells. While
 * somebody looks closely, what comes waits.
 */
export class Ticker {
  rows = $state.raw<FeedEvent[]>([]);
  /** How many wait. */
  waiting = $state(0);
  #held: FeedEvent[] = [];
  #reading = false;

  /** Newest first, each position once. */
  #merge(a: FeedEvent[], b: FeedEvent[]): FeedEvent[] {
    const known = new Map([...a, ...b].map((event) => [event.seq, event]));
    return [...known.values()].sort((x, y) => y.seq - x.seq).slice(0, MOST);
  }

  add(events: FeedEvent[]): void {
    const wanted = events.filter(shown);
    if (wanted.length === 0) return;
    if (this.#reading) {
      this.#held = this.#merge(this.#held, wanted);
      this.waiting += wanted.length;
    } else this.rows = this.#merge(this.rows, wanted);
  }

  read(reading: boolean): void {
    this.#reading = reading;
    if (!reading) this.release();
  }

  /** Shows what waits. */
  release(): void {
    if (this.waiting === 0) return;
    this.rows = this.#merge(this.rows, this.#held);
    this.#held = [];
    this.waiting = 0;
  }

  /** Something was missed, or it is another log. */
  clear(): void {
    this.rows = [];
    this.#held = [];
    this.waiting = 0;
  }
}

/** A ticker that runs as long as the component. Call it while the component is being set up. */
export function useTicker() {
  const ticker = new Ticker();
  const stored = liveQuery((signal) => ok(api.GET('/events', { params: { query: { order: 'desc', limit: BEGINNING } }, signal })));
  $effect(() => {
    // The feed listens before the answer is there, so that nothing falls between the two.
    const events = stored.data?.events;
    if (events) untrack(() => ticker.add(events as FeedEvent[]));
  });
  $effect(() =>
    feed.on([], ({ events, gap }) => {
      if (gap) {
        ticker.clear();
        void stored.refresh();
      }
      ticker.add(events);
    }),
  );
  return { ticker, stored };
}
