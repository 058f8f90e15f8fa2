import type { Locale } from './locale.svelte';

/** The texts of one `…messages.ts`, as it is imported: `import * as messages from './messages'`. */
export interface Messages<T> {
  en: T;
  zh: T;
}

// In the built dashboard a `…messages.ts` only says where its texts are, which have numbers instead of names
// (scripts/languages.ts): each language has a file of its own, and nobody fetches the one that is not shown.
const SPLIT = import.meta.env.PROD;
type Place = { at: number };
const fetched: Partial<Record<Locale, unknown[]>> = {};
const fetchers = { en: () => import('./texts-en'), 'zh-TW': () => import('./texts-zh') };

/** Fetches a language's texts, unless they are here. */
export async function fetchTexts(locale: Locale): Promise<void> {
  if (SPLIT) fetched[locale] ??= (await fetchers[locale]()).default;
}

export function textsOf<T>(messages: Messages<T>, locale: Locale): T {
  if (SPLIT) return fetched[locale]?.[(messages as unknown as Place).at] as T;
  return locale === 'en' ? messages.en : messages.zh;
}
