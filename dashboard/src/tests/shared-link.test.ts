import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { Problem } from '../api/problem';
import type { FeedEvent, LinkState } from '../feed/link';
import { SharedLink } from '../feed/shared-link';

/** What the browser does between tabs. */
class Channel {
  static open = new Set<Channel>();
  onmessage: ((message: { data: unknown }) => void) | undefined;
  /** A tab without a turn: what comes for it waits. */
  asleep: unknown[] | undefined;

  constructor() {
    Channel.open.add(this);
  }

  postMessage(data: unknown): void {
    if (!Channel.open.has(this)) return;
    const copy = structuredClone(data);
    const others = [...Channel.open].filter((other) => other !== this);
    setTimeout(() => {
      for (const other of others) {
        if (other.asleep) other.asleep.push(copy);
        else if (Channel.open.has(other)) other.onmessage?.({ data: copy });
      }
    }, 1);
  }
}

/** A log, and the two ways to read it. */
class Server {
  events: FeedEvent[] = [];
  readers = new Set<(text: string | undefined) => void>();
  opened = 0;
  loggedIn = true;

  get head(): number {
    return this.events.length;
  }

  write(count: number): void {
    const after = this.head;
    for (let n = 1; n <= count; n += 1) this.events.push({ seq: after + n, type: 'Answered', at: '', class: 'traffic', event: {} });
    if (count > 0) for (const tell of this.readers) tell(this.#blocks(after));
  }

  /** Every stream ends, as when it is killed. */
  cut(): void {
    for (const tell of this.readers) tell(undefined);
  }

  #blocks(after: number): string {
    const block = (event: FeedEvent) => `id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
    return this.events.slice(after).map(block).join('');
  }

  async get(path: string, { headers, signal }: RequestInit): Promise<Response> {
    await new Promise((answered) => setTimeout(answered, 5));
    signal?.throwIfAborted();
    if (!this.loggedIn) throw new Problem({ code: 'not_logged_in' }, 401);
    const query = new URLSearchParams(path.split('?')[1]);
    if (query.has('order')) return Response.json({ events: this.events.slice(-1), head: this.head });
    const after = Number(query.get('after'));
    if (query.has('after')) return Response.json({ events: this.events.slice(after, after + 500), head: this.head });
    const from = Number((headers as Record<string, string>)['Last-Event-ID'] ?? this.head);
    if (from > this.head) throw new Problem({ code: 'position_ahead' }, 409);
    return new Response(this.#stream(from, signal ?? undefined));
  }

  #stream(from: number, signal: AbortSignal | undefined): ReadableStream {
    this.opened += 1;
    return new ReadableStream({
      start: (controller) => {
        const bytes = new TextEncoder();
        const tell = (text: string | undefined) => {
          if (text !== undefined) return controller.enqueue(bytes.encode(text));
          this.readers.delete(tell);
          controller.close();
        };
        signal?.addEventListener('abort', () => {
          this.readers.delete(tell);
          try {
            controller.error(new DOMException('', 'AbortError'));
          } catch {
            // It was closed.
          }
        });
        this.readers.add(tell);
        tell(`retry: 2000\nid: ${from}\n\n${this.#blocks(from)}`);
      },
    });
  }
}

/** A tab: its window's events, its end of the channel, and what its pages were told. */
class Tab {
  seen: number[] = [];
  resets = 0;
  state: LinkState = { kind: 'off' };
  #handlers: [type: string, run: () => void][] = [];
  #calls = new AbortController();
  #channel: Channel;
  link: SharedLink;

  constructor(server: Server) {
    vi.stubGlobal('addEventListener', (type: string, run: () => void) => this.#handlers.push([type, run]));
    this.link = new SharedLink({
      get: (path, init) => server.get(path, { ...init, signal: AbortSignal.any([this.#calls.signal, init.signal ?? this.#calls.signal]) }),
      onState: (state) => (this.state = state),
      onEvents: (events) => this.seen.push(...events.map(({ seq }) => seq)),
      onReset: () => {
        this.resets += 1;
        this.seen = [];
      },
    });
    vi.unstubAllGlobals();
    vi.stubGlobal('BroadcastChannel', Channel);
    this.#channel = [...Channel.open].at(-1)!;
    this.link.start();
  }

  dispatch(type: string): void {
    for (const [of, run] of this.#handlers) if (of === type) run();
  }

  /** It is closed, or crashes: then it says nothing. */
  close(crash: boolean): void {
    if (!crash) this.dispatch('pagehide');
    Channel.open.delete(this.#channel);
    this.#calls.abort();
  }

  /** The browser gives it no turn, and does not say so. */
  sleep(): void {
    this.#channel.asleep = [];
  }

  wake(): void {
    const waiting = this.#channel.asleep ?? [];
    this.#channel.asleep = undefined;
    for (const data of waiting) this.#channel.onmessage?.({ data });
  }
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

let server: Server;
beforeEach(() => {
  vi.useFakeTimers();
  Channel.open.clear();
  vi.stubGlobal('BroadcastChannel', Channel);
  server = new Server();
  server.write(10);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

async function twelve(): Promise<Tab[]> {
  const tabs: Tab[] = [];
  for (let n = 0; n < 12; n += 1) {
    tabs.push(new Tab(server));
    await pass(20);
  }
  return tabs;
}

test('twelve tabs have one feed, and each hears every event once', async () => {
  const tabs = await twelve();
  expect(server.readers.size).toBe(1);
  // Whoever opens later has its answer before it has a connection.
  expect(server.opened).toBe(1);
  server.write(5);
  await pass(20);
  for (const tab of tabs) expect([tab.state.kind, tab.seen]).toEqual(['live', range(11, 15)]);
});

test('tabs that begin at once agree on one of them', async () => {
  const tabs = range(1, 12).map(() => new Tab(server));
  await pass(50);
  server.write(3);
  await pass(50);
  expect(server.readers.size).toBe(1);
  for (const tab of tabs) expect(tab.seen).toEqual([11, 12, 13]);
});

for (const [how, crash, within] of [['is closed', false, 500], ['crashes', true, 9_000]] as const) {
  test(`when the leader ${how}, another goes on and nothing is lost`, async () => {
    const [first, ...others] = await twelve();
    server.write(3);
    await pass(20);
    first!.close(crash);
    server.write(4);
    await pass(within);
    expect(server.readers.size).toBe(1);
    server.write(2);
    await pass(50);
    for (const tab of others) expect([tab.state.kind, tab.seen]).toEqual(['live', range(11, 19)]);
  });
}

test('a tab that freezes hands on, and catches up when it is back', async () => {
  const tabs = await twelve();
  const [first, ...others] = tabs;
  first!.dispatch('freeze');
  server.write(700);
  await pass(500);
  expect(server.readers.size).toBe(1);
  for (const tab of others) expect(tab.seen).toEqual(range(11, 710));
  expect(first!.seen).toEqual([]);
  first!.dispatch('resume');
  await pass(500);
  server.write(1);
  await pass(50);
  for (const tab of tabs) expect([tab.state.kind, tab.seen]).toEqual(['live', range(11, 711)]);
  expect(server.readers.size).toBe(1);
});

test('a leader that has no turn is replaced, and nothing is told twice when it wakes up', async () => {
  const tabs = await twelve();
  tabs[0]!.sleep();
  await pass(9_000);
  expect(server.readers.size).toBe(2);
  server.write(4);
  await pass(50);
  tabs[0]!.wake();
  await pass(100);
  server.write(2);
  await pass(100);
  expect(server.readers.size).toBe(1);
  for (const tab of tabs) expect([tab.state.kind, tab.seen]).toEqual(['live', range(11, 16)]);
});

test('a follower that missed too much loads again', async () => {
  const tabs = await twelve();
  const last = tabs.at(-1)!;
  last.dispatch('pagehide');
  server.write(5_000);
  await pass(50);
  // It was in the browser's history; by then the leader is far ahead, and answers before the server does.
  last.dispatch('pageshow');
  await pass(100);
  server.write(1);
  await pass(100);
  expect([last.resets, last.seen]).toEqual([1, [5_011]]);
  expect(tabs[0]!.resets).toBe(0);
});

test('all learn that the log is another one', async () => {
  const tabs = await twelve();
  server.events = server.events.slice(0, 4);
  server.cut();
  await pass(5_000);
  server.write(2);
  await pass(100);
  for (const tab of tabs) expect([tab.resets, tab.seen]).toEqual([1, [5, 6]]);
  expect(server.readers.size).toBe(1);
});

test('all learn that the session has ended, and nobody asks on', async () => {
  const tabs = await twelve();
  server.loggedIn = false;
  server.cut();
  await pass(10_000);
  for (const tab of tabs) expect(tab.state.kind).toBe('off');
  server.loggedIn = true;
  await pass(60_000);
  expect(server.readers.size).toBe(0);
  server.write(2);
  for (const tab of tabs) tab.link.start();
  await pass(100);
  for (const tab of tabs) expect([tab.state.kind, tab.seen]).toEqual(['live', [11, 12]]);
  expect(server.readers.size).toBe(1);
});

test('a lost connection is one for all', async () => {
  const tabs = await twelve();
  const { get } = server;
  server.get = () => Promise.reject(new Problem({}, 0));
  server.cut();
  await pass(100);
  for (const tab of tabs) expect(tab.state.kind).toBe('lost');
  await pass(120_000);
  server.get = get;
  await pass(30_000);
  server.write(1);
  await pass(100);
  for (const tab of tabs) expect([tab.state.kind, tab.seen]).toEqual(['live', [11]]);
  expect(server.readers.size).toBe(1);
});

/** Numbers from 0 to 1 that are the same each time. */
function numbers(seed: number): () => number {
  let at = seed;
  return () => {
    at = (at * 48_271) % 2_147_483_647;
    return at / 2_147_483_647;
  };
}

for (const seed of range(1, 10)) {
  test(`whatever tabs do, none misses an event or hears one twice (${seed})`, async () => {
    const random = numbers(seed * 7_919);
    const pick = <T>(from: T[]) => from[Math.floor(random() * from.length)];
    let tabs = await twelve();
    const frozen = new Set<Tab>();
    const asleep = new Set<Tab>();
    for (let step = 0; step < 60; step += 1) {
      const tab = pick(tabs)!;
      const what = Math.floor(random() * 9);
      if (what < 3) server.write(Math.floor(random() * 40));
      if (what === 3) server.cut();
      if (what === 4 && tabs.length < 15) tabs.push(new Tab(server));
      if (what === 5 && tabs.length > 2) {
        tab.close(random() < 0.5);
        tabs = tabs.filter((other) => other !== tab);
      }
      if (what === 6 && !asleep.has(tab)) {
        frozen.add(tab);
        tab.dispatch('freeze');
      }
      if (what === 7 && !frozen.has(tab)) {
        asleep.add(tab);
        tab.sleep();
      }
      if (what === 8) {
        frozen.forEach((tab) => tab.dispatch('resume'));
        asleep.forEach((tab) => tab.wake());
        frozen.clear();
        asleep.clear();
      }
      await pass(random() < 0.7 ? 50 * random() : 9_000 * random());
    }
    frozen.forEach((tab) => tab.dispatch('resume'));
    asleep.forEach((tab) => tab.wake());
    await pass(60_000);
    server.write(1);
    await pass(100);
    expect(server.readers.size).toBe(1);
    for (const [number, { seen, resets, state }] of tabs.entries()) {
      expect([number, state.kind, resets, seen]).toEqual([number, 'live', 0, range(seen[0] ?? 0, server.head)]);
    }
  });
}
