/** How one parameter of the URL is read and written. What is the default is not in the URL. */
export interface Param<T> {
  read: (values: string[]) => T;
  write: (value: T) => string[];
}

/** Text; `''` when it is not there. */
export const text = (fallback = ''): Param<string> => ({
  read: ([value]) => value ?? fallback,
  write: (value) => (value === fallback ? [] : [value]),
});

/** A whole number within bounds, or none. */
export const int = (least = 0, most = Number.MAX_SAFE_INTEGER): Param<number | undefined> => ({
  read: ([value]) => {
    const number = value === undefined || value === '' ? Number.NaN : Number(value);
    return Number.isSafeInteger(number) && number >= least && number <= most ? number : undefined;
  },
  write: (value) => (value === undefined ? [] : [String(value)]),
});

/** `?live=1` */
export const flag = (): Param<boolean> => ({
  read: ([value]) => value === '1',
  write: (value) => (value ? ['1'] : []),
});

/** One of some words; the fallback where it is none of them. */
export const oneOf = <const T extends string, F extends T | undefined>(words: readonly T[], fallback: F): Param<T | F> => ({
  read: ([value]) => words.find((word) => word === value) ?? fallback,
  write: (value) => (value === undefined || value === fallback ? [] : [value]),
});

/** Some of some words: `?state=ready&state=cooling`, in the order of the words. */
export const many = <const T extends string>(words: readonly T[]): Param<T[]> => ({
  read: (values) => words.filter((word) => values.includes(word)),
  write: (value) => words.filter((word) => value.includes(word)),
});

/** Any number of texts, such as tags. */
export const texts = (): Param<string[]> => ({
  read: (values) => [...new Set(values.filter((value) => value !== ''))],
  write: (value) => value,
});

/** Parameters by name. (`never`: whatever type a parameter has, it fits here.) */
export type Spec = Record<string, { read: (values: string[]) => unknown; write: (value: never) => string[] }>;
export type Values<S> = { [K in keyof S]: S[K] extends Param<infer T> ? T : never };

/** Reads a page's parameters. */
export function readQuery<S extends Spec>(spec: S, from: URLSearchParams): Values<S> {
  const entries = Object.entries(spec).map(([name, param]) => [name, param.read(from.getAll(name))]);
  return Object.fromEntries(entries) as Values<S>;
}

/** A copy with some parameters changed; parameters of nobody's spec stay. */
export function writeQuery<S extends Spec>(spec: S, from: URLSearchParams, patch: Partial<Values<S>>): URLSearchParams {
  const to = new URLSearchParams(from);
  for (const [name, value] of Object.entries(patch)) {
    const param = spec[name];
    if (!param) continue;
    to.delete(name);
    for (const written of param.write(value as never)) to.append(name, written);
  }
  return to;
}
