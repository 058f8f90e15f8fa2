import { call } from '$lib/api/client';
import type { Word } from '$lib/i18n/words';
import type { FeedEvent, LinkState } from './link';
import { SharedLink } from './shared-link';

export type { FeedEvent, LinkState } from './link';

/** Every type of event there is. */
export type EventType = Word<'eventType'>;

/** What came since the last one. */
export interface Batch {
  events: FeedEvent[];
  /** Events were left out (too many at once, or another log): what was loaded must be loaded again. */
  gap: boolean;
}

type Listener = { types: ReadonlySet<string> | undefined; tell: (batch: Batch) => void };

/** At most four updates of the screen a second, however busy the pool is. */
const PACE = 250;
/** Most events of one batch; beyond it a page does better to load again. */
const MOST = 1_000;
/** Events kept for whoever comes later. */
const KEPT = 200;

/**
 * The page's one ear to the event feed. Memory is bounded: a batch, and the last events of all.
 */
class Feed {
  state = $state.raw<LinkState>({ kind: 'off' });
  /** The last position that is known. */
  head = $state(0);

  #listeners = new Set<Listener>();
  #waiting: FeedEvent[] = [];
  #gap = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #recent: FeedEvent[] = [];
  #link = new SharedLink({
    get: (path, init) => call(`/api${path}`, init),
    onState: (state) => this.#turn(state),
    onEvents: (events) => this.#take(events),
    onReset: () => {
      this.#recent = [];
      this.#gap = true;
      this.#soon();
    },
  });

  start(): void {
    this.#link.start();
  }

  stop(): void {
    this.#link.stop();
  }

  /** The latest events, oldest first: at most 200. Not reactive: use it as a beginning, then listen. */
  recent(...types: EventType[]): FeedEvent[] {
    return types.length === 0 ? [...this.#recent] : this.#recent.filter((e) => types.includes(e.type as EventType));
  }

  /** Tells of events of some types (none named: all) until the returned function is called. */
  on(types: readonly EventType[], tell: (batch: Batch) => void): () => void {
    const listener = { types: types.length > 0 ? new Set<string>(types) : undefined, tell };
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #turn(state: LinkState): void {
    // A live link says so with every message.
    if (state.kind !== this.state.kind || state.kind === 'lost') this.state = state;
  }

  #take(events: FeedEvent[]): void {
    this.#waiting.push(...events);
    if (this.#waiting.length > MOST) {
      this.#waiting = this.#waiting.slice(-MOST);
      this.#gap = true;
    }
    this.#soon();
  }

  #soon(): void {
    this.#timer ??= setTimeout(() => this.#flush(), PACE);
  }

  #flush(): void {
    this.#timer = undefined;
    const [events, gap] = [this.#waiting, this.#gap];
    this.#waiting = [];
    this.#gap = false;
    this.#recent = [...this.#recent, ...events].slice(-KEPT);
    this.head = this.#link.position ?? this.head;
    for (const { types, tell } of [...this.#listeners]) {
      const wanted = types ? events.filter((event) => types.has(event.type)) : events;
      if (wanted.length > 0 || gap) tell({ events: wanted, gap });
    }
  }
}

export const feed = new Feed();
