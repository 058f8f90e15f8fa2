import type { Schema } from '$lib/api/client';

export type Detail = Schema<'RequestLogDetail'>;
export type Attempt = Schema<'RequestAttempt'>;

/** A bar on the request's own scale, in shares of it. */
export interface Bar {
  left: number;
  width: number;
  /** Where the first byte came, as a share of the bar. */
  first: number | undefined;
}

export interface Scale {
  /** Milliseconds from its arrival to the last thing that happened. */
  whole: number;
  request: Bar;
  tries: (Bar & { offset: number })[];
}

/** Draws a request to scale: when each try began and ended, beginning with the request's arrival. */
export function scaleOf(detail: Pick<Detail, 'time' | 'duration_ms' | 'first_byte_ms'> & { attempts: Pick<Attempt, 'time' | 'latency_ms' | 'first_byte_ms'>[] }): Scale {
  const arrived = Date.parse(detail.time);
  // Clocks of a millisecond's grain may put a try a hair before its request.
  const offsets = detail.attempts.map(({ time }) => Math.max(0, Date.parse(time) - arrived));
  const ends = detail.attempts.map(({ latency_ms }, at) => (offsets[at] ?? 0) + latency_ms);
  const whole = Math.max(1, detail.duration_ms, ...ends);
  const share = (part: number, of: number) => (of > 0 ? Math.min(1, part / of) : 0);
  const bar = (left: number, width: number, first: number | null | undefined): Bar => ({
    left: share(left, whole),
    width: share(width, whole),
    first: first === null || first === undefined ? undefined : share(first, width),
  });
  return {
    whole,
    request: bar(0, detail.duration_ms, detail.first_byte_ms),
    tries: detail.attempts.map((attempt, at) => {
      const offset = offsets[at] ?? 0;
      return { ...bar(offset, attempt.latency_ms, attempt.first_byte_ms), offset };
    }),
  };
}

/** Whether the reason of a try that ended so is what the pool saw, and nothing that Google said. */
export const ofPool = (verdict = '') => /^(truncated|timed|connect|cancelled|aborted|pool)/.test(verdict);
