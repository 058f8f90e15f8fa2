import { say } from '$lib/i18n';

/** Who did it, in words; a name where there is one. */
export function actor(event: Record<string, unknown>): string {
  const who = event['actor'];
  if (typeof who === 'string') return say('actor', who);
  return typeof who === 'object' && who !== null ? Object.values(who).map(String).join(' ') : '';
}
