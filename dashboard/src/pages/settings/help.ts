import { pick } from '$lib/i18n';
import * as messages from './help-messages';

/** What a setting does: the server's words, or what is said instead of them in the language in force. */
export function effect(setting: { name: string; help: string }): string {
  return pick(messages).effects[setting.name] ?? setting.help;
}

/** What a setting takes, or why it does not take a value. */
export function wanted(words: string): string {
  const [, wrong, wants = '', given] = /^(wants )?(.*?)(?:, not `(.*)`)?$/s.exec(words) ?? [];
  const [pattern, to] = pick(messages).wants.find(([pattern]) => pattern.test(wants)) ?? [];
  if (!pattern || !to) return words;
  return pick(messages).tell(wants.replace(pattern, to), wrong !== undefined, given);
}

/** The words of a setting that takes one of some; none: it takes others. */
export function choices(wants: string | null | undefined): string[] | undefined {
  return wants && /^[a-z-]+(, [a-z-]+)* or [a-z-]+$/.test(wants) ? wants.split(/, | or /) : undefined;
}
