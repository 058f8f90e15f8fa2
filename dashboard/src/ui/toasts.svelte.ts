export interface Toast {
  id: number;
  text: string;
  tone: 'ok' | 'bad';
  undo: (() => void | Promise<void>) | undefined;
}

/** A toast with a way back stays long enough to be read and reached. */
const LONG = 12_000;
const SHORT = 5_000;

class Toasts {
  all = $state<Toast[]>([]);
  #next = 1;

  /** Says what was done; with `undo`, offers the way back. */
  say(text: string, undo?: () => void | Promise<void>): void {
    this.#add(text, 'ok', undo);
  }

  /** Says what failed. It stays until it is dismissed. */
  fail(text: string): void {
    this.#add(text, 'bad');
  }

  dismiss(id: number): void {
    this.all = this.all.filter((toast) => toast.id !== id);
  }

  #add(text: string, tone: Toast['tone'], undo?: Toast['undo']): void {
    const id = this.#next++;
    this.all = [...this.all.slice(-3), { id, text, tone, undo }];
    if (tone === 'ok') setTimeout(() => this.dismiss(id), undo ? LONG : SHORT);
  }
}

export const toasts = new Toasts();
