/** Where every page is. Names are what links and `g`-keys use. */
export const routes = {
  status: '/status',
  keys: '/keys',
  key: '/keys/:id',
  models: '/models',
  requests: '/requests',
  request: '/requests/:id',
  history: '/history',
  clients: '/clients',
  settings: '/settings',
  welcome: '/welcome',
} as const satisfies Record<string, string>;

export type RouteName = keyof typeof routes;

/** `:id` in a path asks for `{ id }`. */
export type ParamsOf<N extends RouteName> = (typeof routes)[N] extends `${string}:${infer P}`
  ? Record<P, string | number>
  : Record<never, never>;

export interface Match {
  name: RouteName | 'home' | 'missing';
  params: Record<string, string>;
}

export function match(pathname: string): Match {
  const parts = pathname.split('/').filter(Boolean);
  if (parts.length === 0) return { name: 'home', params: {} };
  for (const [name, path] of Object.entries(routes)) {
    const wanted = path.split('/').filter(Boolean);
    if (wanted.length !== parts.length) continue;
    const params: Record<string, string> = {};
    const fits = wanted.every((part, at) => {
      const given = parts[at] ?? '';
      if (!part.startsWith(':')) return part === given;
      try {
        params[part.slice(1)] = decodeURIComponent(given);
      } catch {
        return false;
      }
      return true;
    });
    if (fits) return { name: name as RouteName, params };
  }
  return { name: 'missing', params: {} };
}

type Query = URLSearchParams | Record<string, string | number | boolean | readonly (string | number)[] | undefined>;

type HrefArgs<N extends RouteName> = keyof ParamsOf<N> extends never
  ? [params?: Record<never, never>, query?: Query]
  : [params: ParamsOf<N>, query?: Query];

/** The address of a page: `href('key', { id: 7 })`, `href('keys', {}, { state: ['failed'] })`. */
export function href<N extends RouteName>(name: N, ...[params, query]: HrefArgs<N>): string {
  const given = (params ?? {}) as Record<string, string | number>;
  const path = routes[name].replace(/:(\w+)/g, (_, key: string) => encodeURIComponent(String(given[key] ?? '')));
  const search = query instanceof URLSearchParams ? query : new URLSearchParams(pairs(query ?? {}));
  return search.size > 0 ? `${path}?${search}` : path;
}

function pairs(query: Exclude<Query, URLSearchParams>): [string, string][] {
  return Object.entries(query).flatMap(([name, value]) => {
    if (value === undefined || value === '' || value === false) return [];
    const values = Array.isArray(value) ? (value as readonly (string | number)[]) : [value === true ? '1' : value];
    return values.map((one): [string, string] => [name, String(one)]);
  });
}
