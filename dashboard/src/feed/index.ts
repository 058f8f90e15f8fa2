export { feed, type Batch, type EventType, type FeedEvent, type LinkState } from './feed.svelte';
export { liveQuery, LiveQuery, type LiveOptions } from './live-query.svelte';
