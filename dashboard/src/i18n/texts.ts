import type { Locale } from './locale.svelte';
import shapes, { type Shape } from './text-shapes';

/** The texts of one `…messages.ts`, as it is imported: `import * as messages from './messages'`. */
export interface Messages<T> {
  en: T;
  zh: T;
}

// In the built dashboard each language has a file of its own, and nobody fetches the one that is not shown. A
// `…messages.ts` is a place in it there, and texts have numbers instead of names: see scripts/languages.ts.
const SPLIT = import.meta.env.PROD;
const fetched: Partial<Record<Locale, unknown[]>> = {};
const fetchers = { en: () => import('./texts-en'), 'zh-TW': () => import('./texts-zh') };

/** Fetches a language's texts, unless they are here. */
export async function fetchTexts(locale: Locale): Promise<void> {
  if (SPLIT) {
    const lists = (await fetchers[locale]()).default as unknown[][];
    fetched[locale] ??= lists.map((list, file) => list.map((text, at) => named(text, shapes[file]?.[at])));
  }
}

/** Nested texts are lists in each language's file, and have their names again here. */
function named(text: unknown, shape: Shape | undefined): unknown {
  if (!shape) return text;
  return Object.fromEntries(Object.entries(shape).map(([name, inner], at) => [name, named((text as unknown[])[at], inner)]));
}

export function textsOf<T>(messages: Messages<T>, locale: Locale): T {
  if (SPLIT) return fetched[locale]?.[messages as unknown as number] as T;
  return locale === 'en' ? messages.en : messages.zh;
}
