import { match, type Match } from './routes';
import { readQuery, writeQuery, type Spec, type Values } from './query';

/** Where the browser is. Owns the history; pages read `router.params` and use {@link useQuery}. */
class Router {
  #url = $state.raw(new URL(location.href));
  /** Counts visits of pages: changes of the query alone are none. */
  visits = $state(0);
  #match: Match = $derived(match(this.#url.pathname));
  #search = $derived(this.#url.search);
  #params: URLSearchParams = $derived(new URLSearchParams(this.#search));
  /** Where each entry of the history was scrolled to. */
  #scrolls = new Map<number, number>();
  #entry = 0;

  constructor() {
    history.scrollRestoration = 'manual';
    this.#entry = entryOf(history.state) ?? 0;
    history.replaceState({ entry: this.#entry }, '');
    addEventListener('popstate', (event) => {
      this.#leave();
      this.#entry = entryOf(event.state) ?? 0;
      this.#move(new URL(location.href));
    });
    document.addEventListener('click', (event) => this.#click(event));
  }

  get url(): URL {
    return this.#url;
  }

  get name(): Match['name'] {
    return this.#match.name;
  }

  get params(): Record<string, string> {
    return this.#match.params;
  }

  get search(): URLSearchParams {
    return this.#params;
  }

  /** Goes to an address of the dashboard. */
  go(to: string, options: { replace?: boolean } = {}): void {
    const url = new URL(to, location.href);
    if (url.href === this.#url.href) return;
    if (options.replace) {
      history.replaceState({ entry: this.#entry }, '', url);
    } else {
      this.#leave();
      this.#entry += 1;
      this.#scrolls.delete(this.#entry);
      history.pushState({ entry: this.#entry }, '', url);
    }
    this.#move(url);
  }

  /** Where this entry of the history was left; the shell scrolls there once the page is drawn. */
  scrollTop(): number {
    return this.#scrolls.get(this.#entry) ?? 0;
  }

  #leave(): void {
    this.#scrolls.set(this.#entry, scrollY);
  }

  #move(url: URL): void {
    const other = url.pathname !== this.#url.pathname;
    this.#url = url;
    if (other) this.visits += 1;
  }

  /** Links of the dashboard are plain links; this is what makes them quick. */
  #click(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) {
      return;
    }
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    // What the server answers itself is not ours, nor are jumps within the page.
    if (/^\/(api|v1\w*|healthz|readyz|metrics)(\/|$)/.test(link.pathname)) return;
    if (link.hash && link.pathname === this.#url.pathname) return;
    event.preventDefault();
    this.go(link.href);
  }
}

function entryOf(state: unknown): number | undefined {
  const entry = typeof state === 'object' && state !== null && 'entry' in state ? state.entry : undefined;
  return typeof entry === 'number' ? entry : undefined;
}

export const router = new Router();

export interface QueryOf<S extends Spec> {
  /** The values as the URL says them. Reactive. */
  readonly value: Values<S>;
  /** Changes some of them; a new entry of the history only where `push` says so. */
  set: (patch: Partial<Values<S>>, options?: { push?: boolean }) => void;
  /** The address of this page with some of them changed, for links. */
  href: (patch: Partial<Values<S>>) => string;
}

/**
 * A page's filters, which live in the URL and nowhere else:
 *
 *     const filter = useQuery({ q: text(), state: many(['ready', 'cooling', 'failed', 'disabled']) });
 *     filter.value.state        filter.set({ q: 'abc' })        <a href={filter.href({ state: ['failed'] })}>
 */
export function useQuery<S extends Spec>(spec: S): QueryOf<S> {
  const to = (patch: Partial<Values<S>>) => {
    const search = writeQuery(spec, router.search, patch).toString();
    return router.url.pathname + (search ? `?${search}` : '');
  };
  const value = $derived(readQuery(spec, router.search));
  return {
    get value() {
      return value;
    },
    set: (patch, options = {}) => router.go(to(patch), { replace: !options.push }),
    href: to,
  };
}
