import { words, type WordGroup } from './dictionary';
import { locale } from './locale.svelte';

export { words, type WordGroup };

/**
 * A word of the server's in the language in force: `say('verdict', attempt.verdict)`.
 * A word that is not in the dictionary is shown as the server wrote it.
 */
export function say(group: WordGroup, word: string | null | undefined): string {
  if (word === null || word === undefined || word === '') return '';
  const known = (words[group] as Record<string, readonly [string, string] | undefined>)[word];
  return known?.[locale.current === 'en' ? 0 : 1] ?? word;
}

/** Why something is as it is: a verdict (what closed it), or what opened it. */
export function cause(word: string | null | undefined): string {
  const verdict = say('verdict', word);
  return verdict !== word ? verdict : say('opened', word);
}
