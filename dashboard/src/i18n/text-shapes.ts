/** The names of nested texts: 0 where a text is not nested. */
export type Shape = { [name: string]: Shape } | 0;

// The build puts them here, by file and by text: see scripts/languages.ts.
export default {} as Record<number, Record<number, Shape>>;
