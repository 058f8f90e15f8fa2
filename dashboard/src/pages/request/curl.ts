import type { Detail } from './timeline';

/** As one word of a shell. */
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * The request as a command. The key is a variable of the shell, never a secret; the body is what was kept, or a
 * place to put one.
 */
export function curl(origin: string, detail: Detail, wholeBody: string | undefined): string {
  const openai = detail.path.includes('/openai/');
  const header = openai ? '"authorization: Bearer $GEMINI_POOL_KEY"' : '"x-goog-api-key: $GEMINI_POOL_KEY"';
  const parts = [`curl ${detail.verb === 'GET' ? '' : `-X ${detail.verb} `}${quoted(origin + detail.path)}`, `-H ${header}`];
  if (detail.verb !== 'GET' && detail.verb !== 'DELETE') {
    parts.push(`-H 'content-type: application/json'`, wholeBody === undefined ? '-d @body.json' : `-d ${quoted(wholeBody)}`);
  }
  return parts.join(' \\\n  ');
}
