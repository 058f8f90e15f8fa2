import { remember, remembered } from '$lib/i18n/locale.svelte';

export const THEMES = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

const KEY = 'gemini-pool.theme';

class Themes {
  current = $state<Theme>('auto');
  #system = matchMedia('(prefers-color-scheme: dark)');
  /** What the system wants, as state: plots are redrawn when it changes. */
  #dark = $state(this.#system.matches);

  constructor() {
    const stored = remembered(KEY);
    this.set(stored === 'light' || stored === 'dark' ? stored : 'auto');
    this.#system.addEventListener('change', (event) => (this.#dark = event.matches));
  }

  /** Whether it is dark now, whoever says so. */
  get dark(): boolean {
    return this.current === 'auto' ? this.#dark : this.current === 'dark';
  }

  set(theme: Theme): void {
    this.current = theme;
    remember(KEY, theme);
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }
}

export const theme = new Themes();

const known = new Map<string, string>();

/** A colour of the theme in force, for canvases: `colour('--ok-fill')`. */
export function colour(name: string): string {
  // Read also for its dependency: whoever draws with a colour draws again when the theme changes.
  const key = `${theme.dark} ${name}`;
  // Asking the page makes it work out its styles, which is dear where every row of a table draws.
  let found = known.get(key);
  if (!found) known.set(key, (found = getComputedStyle(document.documentElement).getPropertyValue(name).trim()));
  return found;
}
