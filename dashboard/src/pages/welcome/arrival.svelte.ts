import { api, ok } from '$lib/api/client';
import { feed, type FeedEvent } from '$lib/feed';
import { setup } from './setup.svelte';

interface Served {
  request: string;
  model: string | undefined;
  duration: number;
}

/** What is known of the first request of the new client; of any client, where none was made here. */
export class Arrival {
  served = $state.raw<Served | undefined>(undefined);
  /** The last one that was answered with an error. */
  failed = $state.raw<{ request: string; status: number } | undefined>(undefined);
  /** Somebody came with an access key that is not known: most often a slip in copying. */
  stranger = $state(false);

  hear({ event }: FeedEvent): void {
    const { status, request, client, model, duration_ms: duration } = event;
    if (this.served || typeof request !== 'string' || typeof status !== 'number') return;
    this.stranger = typeof client !== 'number' && event.reason === 'CLIENT_KEY_INVALID';
    if (setup.clientId !== undefined && client !== setup.clientId) return;
    if (status >= 200 && status < 400) {
      this.served = {
        request,
        model: typeof model === 'string' ? model : undefined,
        duration: typeof duration === 'number' ? duration : 0,
      };
    } else if (!this.stranger) this.failed = { request, status };
  }

  /** One that came before the page was here: the log knows. */
  async look(signal: AbortSignal): Promise<void> {
    const { clientId } = setup;
    try {
      const { request_logs: rows } = await ok(
        api.GET('/request_logs', {
          params: { query: { limit: 1, status: '2xx', ...(clientId === undefined ? {} : { client: clientId }) } },
          signal,
        }),
      );
      const [row] = rows;
      if (row && !this.served && clientId === setup.clientId) {
        this.served = { request: row.id, model: row.model ?? undefined, duration: row.duration_ms };
      }
    } catch {
      // The feed tells of the next one; what was before is a nicety.
    }
  }
}

/** Listens as long as the component is there. Call it while the component is being set up. */
export function useArrival(): Arrival {
  const arrival = new Arrival();
  $effect(() => {
    // Another client was made: its first request is awaited.
    void setup.clientId;
    arrival.served = undefined;
    arrival.failed = undefined;
    const stop = new AbortController();
    void arrival.look(stop.signal);
    return () => stop.abort();
  });
  $effect(() =>
    feed.on(['Answered'], ({ events, gap }) => {
      for (const event of events) arrival.hear(event);
      if (gap) void arrival.look(new AbortController().signal);
    }),
  );
  return arrival;
}
