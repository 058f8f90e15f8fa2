import { cause, format, say } from '$lib/i18n';
import type { Row } from './filter';
import type { ColumnId } from './kept.svelte';

/** Tokens that are paid for; none where nothing was counted. */
export function paid(row: Row): number | undefined {
  const tokens = row.tokens_of_all;
  return tokens ? tokens.prompt + tokens.output + tokens.thoughts : undefined;
}

/** Why it went wrong, in the shortest words there are. */
export function reason(row: Row): string {
  if (row.reason) return say('refusal', row.reason);
  if (row.verdict && row.verdict !== 'success') return cause(row.verdict);
  return row.upstream_reason ?? '';
}

/** The columns that are no more than text. A dash: there is nothing to tell, which is not zero. */
export function plain(row: Row, column: ColumnId, words: { client: string; noClient: string; yes: string; removed: (what: string) => string }): string {
  const duration = (ms: number | null | undefined) => (ms === null || ms === undefined ? '–' : format.duration(ms));
  const counted = (which: 'prompt' | 'output' | 'thoughts' | 'cached') =>
    row.tokens ? format.number(row.tokens[which]) : '–';
  switch (column) {
    case 'model':
      return row.model || '–';
    case 'method':
      return row.method;
    case 'client':
      return row.client ? (row.client.name ?? words.removed(`${words.client} ${row.client.id}`)) : words.noClient;
    case 'tries':
      return format.number(row.tries);
    case 'first':
      return duration(row.first_byte_ms);
    case 'duration':
      return duration(row.duration_ms);
    case 'waited':
      return row.waited_ms === 0 ? '–' : duration(row.waited_ms);
    case 'tokens': {
      const sum = paid(row);
      return sum === undefined ? '–' : format.number(sum);
    }
    case 'prompt':
    case 'output':
    case 'thoughts':
    case 'cached':
      return counted(column);
    case 'reason':
      return reason(row);
    case 'finish':
      return row.finish_reason ?? '–';
    case 'streamed':
      return row.streamed ? words.yes : '–';
    case 'bytes':
      return format.bytes(row.bytes);
    case 'address':
      return row.address;
    case 'path':
      return `${row.verb} ${row.path}`;
    case 'id':
      return row.id;
    default:
      return '';
  }
}
