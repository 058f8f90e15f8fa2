import { api, isAbort, ok, type Schema } from '$lib/api/client';

type Usage = Schema<'KeyUsage'>;

/** How long what is known of a key's last day is good enough. */
const FRESH = 20_000;
const AT_ONCE = 4;

/** The last day of the keys in sight: loaded when scrolling rests, a few at once. */
export class Beats {
  #known = $state.raw(new Map<number, Usage>());
  #at = new Map<number, number>();
  #wanted: number[] = [];
  #stop = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  get(id: number): Usage | undefined {
    return this.#known.get(id);
  }

  want(ids: readonly number[]): void {
    this.#wanted = [...ids];
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#load(), 150);
  }

  leave(): void {
    clearTimeout(this.#timer);
    this.#stop.abort();
  }

  async #load(): Promise<void> {
    this.#stop.abort();
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    const old = Date.now() - FRESH;
    const left = this.#wanted.filter((id) => (this.#at.get(id) ?? 0) < old);
    const came = new Map<number, Usage>();
    const one = async () => {
      for (let id = left.shift(); id !== undefined && !signal.aborted; id = left.shift()) {
        try {
          came.set(id, await ok(api.GET('/keys/{key_id}/usage', { params: { path: { key_id: id } }, signal })));
          this.#at.set(id, Date.now());
        } catch (error) {
          // A key that is gone has no last day; what else went wrong is said by the list.
          if (isAbort(error)) return;
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
    if (came.size === 0) return;
    // Only what is in sight is kept, so that a long scroll leaves nothing behind.
    const kept = [...this.#known].filter(([id]) => this.#wanted.includes(id));
    this.#known = new Map([...kept, ...came]);
    for (const id of this.#at.keys()) if (!this.#known.has(id)) this.#at.delete(id);
  }
}
