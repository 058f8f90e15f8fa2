export { clock } from './clock.svelte';
export * as format from './format';
export { locale, pick, type Locale } from './locale.svelte';
export { cause, say, wordsIn, type Word, type WordGroup } from './words';
