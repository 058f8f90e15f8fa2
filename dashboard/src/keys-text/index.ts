export { default as KeysField } from './KeysField.svelte';
export { readKeysText, sendable, tailOf, type FoundKey, type KeyFields, type KeysText } from './parse';
