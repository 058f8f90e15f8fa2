import { Link, type Heard, type LinkOptions, type LinkState } from './link';

/**
 * What tabs send each other. With a state: the leader tells it, and what it heard. With an id alone: that leader
 * resigns. Empty: a follower asks whether there is a leader.
 */
interface TabMessage {
  id?: string;
  state?: LinkState;
  heard?: Heard | undefined;
}

/** A leader that was silent for so long is asked whether it is there. */
const SILENCE = 5_000;
/** How long a follower waits for that answer before it leads. It differs by tab, so that one of them is the first. */
const electionDelay = () => 1_000 + 2_000 * Math.random();
/** The same, after a leader has resigned. */
const handoverDelay = () => 300 * Math.random();

/**
 * The one connection to the event feed that all tabs of a browser share: HTTP/1.1 gives a browser six connections to a
 * server, and each feed holds one. The leader has the {@link Link} and passes on what it hears. A new tab leads until it
 * hears the leader; of two leaders the one that leads for longer stays. A leader resigns when its tab is closed or
 * frozen, and a silent one is replaced. Two leaders at once do no harm, for each tab owns its position and takes each
 * event once, whoever passes it on.
 *
 * It needs neither Web Locks (which want a secure context, and many pools are reached by plain HTTP) nor a shared
 * worker (which Chrome lacks on Android).
 */
export class SharedLink {
  #link: Link;
  #onState: LinkOptions['onState'];
  #channel = new BroadcastChannel('gemini-pool feed');
  #state: LinkState = { kind: 'off' };
  #started = false;
  /** The tab was closed or frozen, and may come back. */
  #suspended = false;
  /** Sorts by the time when this tab began to lead. */
  #id = '';
  #leader = '';
  #heardAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: LinkOptions) {
    this.#onState = options.onState;
    this.#link = new Link({
      ...options,
      onState: (state) => this.#turn(state),
      onHeard: (heard) => this.#announce(heard),
    });
    this.#channel.onmessage = ({ data }) => this.#started && this.#receive(data as TabMessage);
    for (const type of ['pagehide', 'freeze']) {
      addEventListener(type, () => {
        this.#suspended ||= this.#started;
        this.#leave();
      }, true);
    }
    for (const type of ['pageshow', 'resume']) addEventListener(type, () => this.#suspended && this.start(), true);
  }

  get position(): number | undefined {
    return this.#link.position;
  }

  start(): void {
    this.#suspended = false;
    if (this.#started) return;
    this.#started = true;
    this.#lead();
  }

  stop(): void {
    this.#suspended = false;
    this.#leave();
    this.#onState({ kind: 'off' });
  }

  get #leads(): boolean {
    return this.#started && this.#leader === this.#id;
  }

  #lead = (): void => {
    clearTimeout(this.#timer);
    this.#leader = this.#id = `${Date.now()} ${Math.random()}`;
    this.#link.start();
  };

  #follow(leader: string): void {
    const led = this.#leads;
    this.#leader = leader;
    if (led) this.#link.stop();
    this.#heardAt = Date.now();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#channel.postMessage({});
      this.#leadAfter(electionDelay());
    }, SILENCE);
  }

  #leadAfter(delay: number): void {
    this.#heardAt = 0;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#lead, delay);
  }

  /** Stops, and resigns. */
  #leave(): void {
    const led = this.#leads;
    this.#started = false;
    clearTimeout(this.#timer);
    this.#link.stop();
    if (led) this.#channel.postMessage({ id: this.#id });
  }

  /** The leader's own link has another state. */
  #turn(state: LinkState): void {
    if (!this.#leads) return;
    // The session has ended. The next leader finds that out too, and so do all.
    if (state.kind === 'off') return this.stop();
    const same = this.#state.kind === state.kind;
    this.#state = state;
    this.#onState(state);
    if (!same) this.#announce();
  }

  #announce(heard?: Heard): void {
    const at = this.#link.position;
    heard ??= at === undefined ? at : [at, [], at];
    if (this.#leads) this.#channel.postMessage({ id: this.#id, state: this.#state, heard });
  }

  #receive({ id, state, heard }: TabMessage): void {
    if (id === undefined) return this.#announce();
    if (state === undefined) {
      if (id === this.#leader) this.#leadAfter(handoverDelay());
      return;
    }
    // A younger leader has not heard the elder one yet.
    const elder = this.#leads || Date.now() < this.#heardAt + SILENCE;
    if (elder && id > this.#leader) return this.#announce();
    this.#follow(id);
    this.#state = state;
    this.#onState(state);
    if (heard) this.#link.take(heard);
  }
}
