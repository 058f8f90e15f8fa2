import { fetchTexts, textsOf, type Messages } from './texts';

/** The two languages. */
export type Locale = 'en' | 'zh-TW';

export const LOCALES: { id: Locale; name: string }[] = [
  { id: 'en', name: 'English' },
  { id: 'zh-TW', name: '繁體中文' },
];

const KEY = 'gemini-pool.language';

/** The first language of the browser's that we have; any Chinese is nearer to Taiwan's than to English. */
export function choose(stored: string | null, wanted: readonly string[]): Locale {
  if (stored === 'en' || stored === 'zh-TW') return stored;
  for (const language of wanted) {
    if (/^zh\b/i.test(language)) return 'zh-TW';
    if (/^en\b/i.test(language)) return 'en';
  }
  return 'en';
}

/** Storage may be forbidden; choices then last as long as the page. */
export function remembered(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // See `remembered`.
  }
}

class Language {
  current = $state<Locale>(choose(remembered(KEY), navigator.languages));

  /** Fetches the language's texts first; where the server does not answer, the page stays in the language it is in. */
  async set(locale: Locale): Promise<void> {
    // Before the texts are here: who loads the page again at once has chosen all the same.
    remember(KEY, locale);
    try {
      await fetchTexts(locale);
    } catch {
      return;
    }
    this.current = locale;
    document.documentElement.lang = locale;
  }
}

export const locale = new Language();
document.documentElement.lang = locale.current;

/** The messages of a page in the language in force: `const t = $derived(pick(messages))`. */
export function pick<T>(messages: Messages<T>): T {
  return textsOf(messages, locale.current);
}
