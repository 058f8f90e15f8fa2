import { Problem, isAbort } from '$lib/api/problem';
import { Parser, type Message } from './sse';

/** An event as the API shows it. Its fields depend on the type. */
export interface FeedEvent {
  seq: number;
  at: string;
  type: string;
  class: string;
  event: Record<string, unknown>;
}

/** Everything that the log has after a position, up to another one. */
export type Heard = [after: number, events: FeedEvent[], to: number];

/** How the page hears of events. `since`: milliseconds since 1970. */
export type LinkState =
  | { kind: 'off' }
  | { kind: 'connecting' }
  | { kind: 'live' }
  | { kind: 'lost'; since: number; retryAt: number }
  | { kind: 'polling'; since: number };

export interface LinkOptions {
  /** GET below `/api`; throws {@link Problem}. */
  get: (path: string, init: RequestInit) => Promise<Response>;
  onState: (state: LinkState) => void;
  onEvents: (events: FeedEvent[]) => void;
  /** Events were left out: too many were missed, or the log is another one (a restored backup). */
  onReset: () => void;
  /** What the server told, for whoever else listens. */
  onHeard?: (heard: Heard) => void;
  now?: () => number;
  random?: () => number;
}

/** The server says something every 15 s; a stream that is silent for longer than this is dead. */
const SILENCE = 40_000;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
/** Failed streams in a row after which plain GETs are tried: something in between may not pass streams. */
const PATIENCE = 3;
const POLL_EVERY = 3_000;
/** How often a page that polls tries the stream again. */
const STREAM_AGAIN = 60_000;
/** Most events that are asked for one page after the other; beyond it a page does better to load again. */
const MOST_MISSED = 1_000;

/** How long to wait before the n-th try (from 0), with some chance in it, so that pages do not come back in step. */
export function backoff(failures: number, random: number): number {
  return Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** failures) * (0.75 + random / 2);
}

/**
 * A connection to the event feed. Owns the position: events are told once each and in order, over disconnections, by
 * `Last-Event-ID`, and whoever heard them. Falls back to polling where streams do not get through.
 */
export class Link {
  #o: Required<LinkOptions>;
  #position: number | undefined;
  #failures = 0;
  #lostSince = 0;
  #stop: AbortController | undefined;
  #wanted = 0;
  #catching = false;

  constructor(options: LinkOptions) {
    this.#o = { now: Date.now, random: Math.random, onHeard: () => {}, ...options };
  }

  get position(): number | undefined {
    return this.#position;
  }

  start(): void {
    if (this.#stop) return;
    this.#stop = new AbortController();
    void this.#run(this.#stop.signal);
  }

  stop(): void {
    this.#stop?.abort();
    this.#stop = undefined;
    this.#o.onState({ kind: 'off' });
  }

  /** Takes what was heard. What does not fit (something is missing, or it is another log) is asked of the server. */
  take([after, events, to]: Heard): void {
    const mine = this.#position ?? after;
    if (after > mine || to < mine) return void this.#catchUp(after, to);
    this.#position = to;
    const fresh = events.filter(({ seq }) => seq > mine);
    if (fresh.length > 0) this.#o.onEvents(fresh);
  }

  async #catchUp(after: number, to: number): Promise<void> {
    if (after - (this.#position ?? after) > MOST_MISSED) {
      this.#position = to;
      return this.#o.onReset();
    }
    this.#wanted = to;
    if (this.#catching) return;
    this.#catching = true;
    try {
      for (let before; before !== this.#position; ) {
        before = this.#position;
        await this.#page(AbortSignal.timeout(SILENCE));
        if ((this.#position ?? this.#wanted) >= this.#wanted) break;
      }
    } catch {
      // The next word does not fit either, and asks again.
    }
    this.#catching = false;
  }

  #heard(...heard: Heard): void {
    this.take(heard);
    this.#o.onHeard(heard);
  }

  async #run(signal: AbortSignal): Promise<void> {
    this.#o.onState({ kind: 'connecting' });
    while (!signal.aborted) {
      let wait = 0;
      try {
        await this.#stream(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Problem && error.status === 401) return this.stop();
        if (error instanceof Problem && error.code === 'position_ahead') {
          this.#position = undefined;
          this.#o.onReset();
          continue;
        }
        wait = error instanceof Problem ? (error.retryAfter ?? 0) * 1000 : 0;
      }
      if (signal.aborted) return;
      // A stream that ended by itself is as lost as one that broke: the server stops, or a proxy cut it.
      if (this.#failures === 0) this.#lostSince = this.#o.now();
      this.#failures += 1;
      if (this.#failures >= PATIENCE && (await this.#poll(signal))) continue;
      wait = Math.max(wait, backoff(this.#failures - 1, this.#o.random()));
      this.#o.onState({ kind: 'lost', since: this.#lostSince, retryAt: this.#o.now() + wait });
      await pause(wait, signal);
    }
  }

  async #stream(signal: AbortSignal): Promise<void> {
    const quiet = new AbortController();
    const give = () => quiet.abort();
    signal.addEventListener('abort', give, { once: true });
    let timer = setTimeout(give, SILENCE);
    try {
      const headers: Record<string, string> = { Accept: 'text/event-stream' };
      if (this.#position !== undefined) headers['Last-Event-ID'] = String(this.#position);
      const response = await this.#o.get('/events/stream', { headers, signal: quiet.signal, cache: 'no-store' });
      const reader = response.body?.getReader();
      if (!reader) return;
      const parser = new Parser();
      const decoder = new TextDecoder();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(give, SILENCE);
        this.#hear(parser.push(decoder.decode(value, { stream: true })));
      }
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', give);
    }
  }

  #hear(messages: Message[]): void {
    // Each has its position; the first that a stream says is where it begins.
    const [first, last] = [Number(messages[0]?.id), Number(messages.at(-1)?.id)];
    if (Number.isNaN(first + last)) return;
    // A word is what shows that a stream works; an open connection alone does not.
    this.#failures = 0;
    this.#o.onState({ kind: 'live' });
    const events = messages.flatMap(({ data }) => (data === undefined ? [] : [JSON.parse(data) as FeedEvent]));
    const mine = this.#position ?? first;
    this.#heard(mine, events, Math.max(mine, last));
  }

  /** Polls until it is time to try the stream again. False: that does not work either. */
  async #poll(signal: AbortSignal): Promise<boolean> {
    const end = this.#o.now() + STREAM_AGAIN;
    try {
      while (this.#o.now() < end && !signal.aborted) {
        await this.#page(signal);
        this.#o.onState({ kind: 'polling', since: this.#lostSince });
        await pause(POLL_EVERY, signal);
      }
      return true;
    } catch (error) {
      return isAbort(error) && signal.aborted;
    }
  }

  async #page(signal: AbortSignal): Promise<void> {
    const at = this.#position;
    const from = at === undefined ? 'order=desc&limit=1' : `after=${at}&limit=500`;
    const response = await this.#o.get(`/events?${from}`, { signal, cache: 'no-store' });
    const { events, head } = (await response.json()) as { events: FeedEvent[]; head: number };
    if (at === undefined) return this.#heard(head, [], head);
    if (head >= at) return this.#heard(at, events, events.at(-1)?.seq ?? head);
    this.#position = undefined;
    this.#o.onReset();
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      removeEventListener('online', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    // A laptop that wakes up does not wait for its turn.
    addEventListener('online', done, { once: true });
  });
}
