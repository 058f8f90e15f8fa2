import { createSubscriber } from 'svelte/reactivity';

/**
 * One clock for every countdown on the page: it ticks once a second, only while something on the screen reads it,
 * and goes by the server's time, so that "back in 43 s" is right on a machine whose own clock is not.
 */
class Clock {
  #skew = 0;
  #subscribe = createSubscriber((update) => {
    const timer = setInterval(update, 1000);
    return () => clearInterval(timer);
  });

  /** Milliseconds since 1970 by the server's clock; whoever reads it in a component is told each second. */
  get now(): number {
    this.#subscribe();
    return this.peek();
  }

  /** The same, without being told. */
  peek(): number {
    return Date.now() + this.#skew;
  }

  /** Takes in an answer's `Date`, which is exact to a second: smaller differences are none. */
  learn(date: string | null): void {
    const told = date === null ? Number.NaN : Date.parse(date);
    if (Number.isNaN(told)) return;
    const skew = told - Date.now();
    this.#skew = Math.abs(skew) < 2_500 ? 0 : skew;
  }
}

export const clock = new Clock();
