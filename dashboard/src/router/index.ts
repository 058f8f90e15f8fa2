export { flag, int, many, oneOf, text, texts } from './query';
export { router, useQuery, type QueryOf } from './router.svelte';
export { href, routes, type RouteName } from './routes';
