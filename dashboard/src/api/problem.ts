import { pick } from '$lib/i18n/locale.svelte';
import * as messages from '$lib/i18n/problem-messages';
import type { components } from './schema';

type Detail = components['schemas']['Detail'];

/** Everything that a call can fail with: the server's problem+json, or no answer at all (`unreachable`). */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly errors: { name: string; wants: string }[];
  /** Seconds after which to try again, where the server says so. */
  readonly retryAfter: number | undefined;

  constructor(detail: Partial<Detail>, status: number, retryAfter?: number) {
    super(detail.detail ?? detail.title ?? `HTTP ${status}`);
    this.name = 'Problem';
    this.status = status;
    this.code = detail.code ?? (status === 0 ? 'unreachable' : 'unknown');
    this.detail = detail.detail ?? '';
    this.errors = detail.errors ?? [];
    this.retryAfter = retryAfter;
  }

  /** What to show people: translated by code; the server's own words where the code is unknown. */
  get title(): string {
    return pick(messages).of[this.code]?.(this) ?? (this.detail || this.message);
  }

  /** The server's own words, where they say more than the title (they are English). */
  get more(): string {
    return this.code in pick(messages).of && this.detail !== this.title ? this.detail : '';
  }
}

/** Any thrown thing as a problem; aborted calls stay what they are. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem({ detail: error instanceof Error ? error.message : String(error) }, 0);
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

/** The problem that an answer tells; also where something in between answered in its own form. */
export async function problemOf(response: Response): Promise<Problem> {
  const after = Number(response.headers.get('retry-after') ?? Number.NaN);
  const told: unknown = await response.json().catch(() => ({}));
  const detail = typeof told === 'object' && told !== null ? (told as Partial<Detail>) : {};
  return new Problem(detail, response.status, Number.isFinite(after) ? after : undefined);
}
