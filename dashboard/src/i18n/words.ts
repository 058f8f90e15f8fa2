import { pick } from './locale.svelte';
import * as messages from './word-messages';

type Words = typeof messages.en.of;
export type WordGroup = keyof Words;
export type Word<G extends WordGroup> = keyof Words[G];

/** The words of a group: `wordsIn('range')`. Not for modules that the entry needs: those come before the texts. */
export function wordsIn<G extends WordGroup>(group: G): Word<G>[] {
  return Object.keys(pick(messages).of[group]) as Word<G>[];
}

/**
 * A word of the server's in the language in force: `say('verdict', attempt.verdict)`.
 * A word that is not in the dictionary is shown as the server wrote it.
 */
export function say(group: WordGroup, word: string | null | undefined): string {
  if (!word) return '';
  return (pick(messages).of[group] as Record<string, string | undefined>)[word] ?? word;
}

/** Why something is as it is: a verdict (what closed it), or what opened it. */
export function cause(word: string | null | undefined): string {
  const verdict = say('verdict', word);
  return verdict !== word ? verdict : say('opened', word);
}
