import type { Schema } from '$lib/api/client';

type Status = Schema<'Status'>;

/** A part of the range, in milliseconds since 1970. */
export interface Span {
  from: number;
  to: number;
}

type Line = (number | null)[];

export interface Lines {
  times: number[];
  requests: Line;
  errors: Line;
  tries: Line;
  wasted: Line;
  tokens: Line;
  firstP50: Line;
  firstP95: Line;
  durationP50: Line;
  durationP95: Line;
}

/** What is summed over a part of the range; percentiles cannot be. */
export interface Sums {
  minutes: number;
  requests: number;
  errors: number;
  tries: number;
  wasted: number;
  tokens: number;
}

/** A bucket that has only begun says nothing of a minute yet. */
const ENOUGH = 0.25;

const pointsOf = (status: Status, span: Span | undefined) =>
  span ? status.series.filter(({ at }) => Date.parse(at) >= span.from && Date.parse(at) <= span.to) : status.series;

/** How much of a bucket has passed, from 0 to 1. */
const passed = (status: Status, at: string) =>
  Math.min(1, (Date.parse(status.at) - Date.parse(at)) / 1000 / status.bucket_seconds);

/** The plots' lines: counts by the minute, times as they are. */
export function linesOf(status: Status, span: Span | undefined): Lines {
  const points = pointsOf(status, span);
  const minutes = status.bucket_seconds / 60;
  const rate = (pick: (point: Schema<'Point'>) => number): Line =>
    points.map((point) => {
      const share = passed(status, point.at);
      return share < ENOUGH ? null : pick(point) / (minutes * share);
    });
  const told = (pick: (point: Schema<'Point'>) => number | null | undefined): Line => points.map((point) => pick(point) ?? null);
  return {
    times: points.map(({ at }) => Date.parse(at)),
    requests: rate(({ requests }) => requests),
    errors: rate(({ errors }) => errors),
    tries: rate(({ attempts }) => attempts),
    wasted: rate(({ attempts_wasted }) => attempts_wasted),
    tokens: rate(({ tokens }) => tokens),
    firstP50: told((point) => point.first_byte_p50_ms),
    firstP95: told((point) => point.first_byte_p95_ms),
    durationP50: told((point) => point.duration_p50_ms),
    durationP95: told((point) => point.duration_p95_ms),
  };
}

export function sumsOf(status: Status, span: Span | undefined): Sums {
  const points = pointsOf(status, span);
  const sum = (pick: (point: Schema<'Point'>) => number) => points.reduce((all, point) => all + pick(point), 0);
  return {
    minutes: sum(({ at }) => passed(status, at)) * (status.bucket_seconds / 60),
    requests: sum(({ requests }) => requests),
    errors: sum(({ errors }) => errors),
    tries: sum(({ attempts }) => attempts),
    wasted: sum(({ attempts_wasted }) => attempts_wasted),
    tokens: sum(({ tokens }) => tokens),
  };
}

/** The whole range that the series covers. */
export function wholeOf(status: Status): Span {
  const first = status.series[0];
  const from = first ? Date.parse(first.at) : Date.parse(status.at);
  return { from, to: Math.max(from, Date.parse(status.at)) };
}

/** A span within the whole and at least two buckets wide; none: it is the whole. */
export function clamp(span: Span, whole: Span, bucketSeconds: number): Span | undefined {
  const width = Math.max(span.to - span.from, bucketSeconds * 2_000);
  if (width >= whole.to - whole.from) return undefined;
  const from = Math.round(Math.min(Math.max(span.from, whole.from), whole.to - width));
  return { from, to: Math.round(from + width) };
}

/** Steps for those who do not drag. */
export const steps = {
  /** The later half of everything, or the middle half of a part. */
  in: ({ from, to }: Span, all: boolean): Span => {
    const quarter = (to - from) / 4;
    return all ? { from: from + 2 * quarter, to } : { from: from + quarter, to: to - quarter };
  },
  out: ({ from, to }: Span): Span => ({ from: from - (to - from) / 2, to: to + (to - from) / 2 }),
  earlier: ({ from, to }: Span): Span => ({ from: from - (to - from) / 2, to: to - (to - from) / 2 }),
  later: ({ from, to }: Span): Span => ({ from: from + (to - from) / 2, to: to + (to - from) / 2 }),
};
