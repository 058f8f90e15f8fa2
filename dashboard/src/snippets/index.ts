export { default as ClientSnippets } from './ClientSnippets.svelte';
export { clientSnippets, PLACEHOLDER } from './snippets';
