import { format, pick } from '$lib/i18n';
import * as messages from './help-messages';

/** What a setting does: the server's words, or what is said instead of them in the language in force. */
export function effect(setting: { name: string; help: string }): string {
  return pick(messages).effects[setting.name] ?? setting.help;
}

/** What a setting takes, or why it does not take a value. */
export function wanted(words: string): string {
  const [, wrong, wants = '', given] = /^(wants )?(.*?)(?:, not `(.*)`)?$/s.exec(words) ?? [];
  const [pattern, to] = pick(messages).wants.find(([pattern]) => pattern.test(wants)) ?? [];
  if (!pattern || to === undefined) return words;
  const told = wants.replace(pattern, to).replace(/\d{5,}/g, (digits) => format.number(+digits));
  return pick(messages).tell(told, wrong !== undefined, given);
}

/** In milliseconds; none of them: bytes. */
const UNITS: Record<string, number> = { BYTES: 0, TIMEOUT: 1_000, INTERVAL: 1_000, MINUTES: 60_000, DAYS: 86_400_000 };

/** What a value that is so much of a unit comes to: 3600 s are an hour. None: it has no unit. */
export function measure(name: string, value: string): string | undefined {
  const unit = UNITS[/[A-Z]+$/.exec(name)?.[0] ?? ''];
  return unit === undefined || !(+value > 0) ? undefined : unit ? format.duration(+value * unit) : format.bytes(+value);
}

/** The words of a setting that takes one of some; none: it takes others. */
export function choices(wants: string | null | undefined): string[] | undefined {
  return wants && /^[a-z-]+(, [a-z-]+)* or [a-z-]+$/.test(wants) ? wants.split(/, | or /) : undefined;
}
