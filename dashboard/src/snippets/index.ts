export { default as ClientSnippets } from './ClientSnippets.svelte';
export { PLACEHOLDER } from './snippets';
