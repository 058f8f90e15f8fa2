export interface Toast {
  id: number;
  text: string;
  tone: 'ok' | 'bad';
  undo: (() => void | Promise<void>) | undefined;
  /** What is done once it is gone without having been undone. */
  held: (() => void) | undefined;
}

/** A toast with a way back stays long enough to be read and reached. */
const LONG = 12_000;
const SHORT = 5_000;
/** What waits to be undone is not waited for as long. */
const HELD = 6_000;

class Toasts {
  all = $state.raw<Toast[]>([]);
  #next = 1;

  /** Says what was done; with `undo`, offers the way back. */
  say(text: string, undo?: () => void | Promise<void>): void {
    this.#add(text, 'ok', undo);
  }

  /**
   * Says what is about to be done, and does it when nobody took it back: for what has no way back afterwards. To
   * dismiss it is to have it done at once.
   */
  hold(text: string, undo: () => void, held: () => void): void {
    this.#add(text, 'ok', undo, held);
  }

  /** Says what failed. It stays until it is dismissed. */
  fail(text: string): void {
    this.#add(text, 'bad');
  }

  dismiss(id: number): void {
    this.take(id)?.held?.();
  }

  /** Takes one away, before anything comes of it. */
  take(id: number): Toast | undefined {
    const taken = this.all.find((toast) => toast.id === id);
    this.all = this.all.filter((toast) => toast !== taken);
    return taken;
  }

  #add(text: string, tone: Toast['tone'], undo?: Toast['undo'], held?: Toast['held']): void {
    const id = this.#next++;
    for (const old of this.all.slice(0, -3)) this.dismiss(old.id);
    this.all = [...this.all, { id, text, tone, undo, held }];
    if (tone === 'ok') setTimeout(() => this.dismiss(id), held ? HELD : undo ? LONG : SHORT);
  }
}

export const toasts = new Toasts();
