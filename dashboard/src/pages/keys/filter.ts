import { int, oneOf, text, type useQuery } from '$lib/router';

export const STATES = ['ready', 'cooling', 'failed', 'disabled'] as const;
export const SORTS = ['id', 'label', 'state', 'project', 'added', 'last_used'] as const;

/** What the list of keys shows, as the URL says it. */
export const spec = {
  q: text(),
  state: oneOf(STATES, undefined),
  project: text(),
  tag: text(),
  model: text(),
  priority: int(0, 255),
  sort: oneOf(SORTS, 'id'),
  order: oneOf(['asc', 'desc'], 'asc'),
  /** The key that is peeked at. */
  peek: int(1),
  /** The test whose progress is shown. */
  job: text(),
};

export type KeyFilter = Parameters<typeof useQuery<typeof spec>>[0];
