import { router } from '$lib/router';
import { nav } from './pages';

/** How long after `g` the letter may come. */
const PATIENCE = 1_200;

/** The keys that work everywhere. A table's own (j, k, space, Enter) are the table's. */
export function listen(on: { palette: () => void; help: () => void }): () => void {
  let gone = 0;
  const key = (event: KeyboardEvent) => {
    if (event.defaultPrevented || event.isComposing) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
      event.preventDefault();
      return on.palette();
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target instanceof Element ? event.target : null;
    if (event.key === 'Enter' && target?.matches('[data-search]:not(form *)')) {
      // On to what was found; in a form it asks for something.
      document.querySelector<HTMLElement>('main [role=grid]')?.focus();
      return;
    }
    // What is typed into a field is text.
    if (target?.closest('input, textarea, select, [contenteditable]') || document.querySelector('dialog[open]')) return;
    if (Date.now() - gone < PATIENCE) {
      gone = 0;
      const page = nav.find(({ letter }) => letter === event.key);
      if (page) {
        event.preventDefault();
        return router.go(page.href);
      }
    }
    if (event.key === 'g') gone = Date.now();
    else if (event.key === '?') {
      event.preventDefault();
      on.help();
    } else if (event.key === '/') {
      event.preventDefault();
      // A page marks its search field; one without has the palette.
      const field = document.querySelector<HTMLInputElement>('main [data-search]');
      if (field) {
        field.focus();
        field.select();
      } else on.palette();
    }
  };
  addEventListener('keydown', key);
  return () => removeEventListener('keydown', key);
}
