import { api, ok, type Schema } from '$lib/api/client';
import type { KeyView } from './list.svelte';

type KeyPatch = Schema<'KeyPatch'>;

/** What came of a change: how many keys became different, and the way back where there is one. */
export interface Done {
  changed: number;
  undo?: () => Promise<void>;
}

export async function enable(ids: number[], to: boolean): Promise<Done> {
  const path = (on: boolean) => (on ? '/keys/bulk_enable' : '/keys/bulk_disable');
  const changed = different(await ok(api.POST(path(to), { body: { ids } })));
  return { changed: changed.length, undo: async () => void (await api.POST(path(!to), { body: { ids: changed } })) };
}

/** Gates that were opened cannot be closed again: Google does that, if it has to. Whoever asks for it waits with it. */
export async function reset(ids: number[]): Promise<Done> {
  return { changed: different(await ok(api.POST('/keys/bulk_reset', { body: { ids } }))).length };
}

export async function tag(keys: KeyView[], add: string[], remove: string[]): Promise<Done> {
  const ids = keys.map((key) => key.id);
  const changed = new Set(different(await ok(api.POST('/keys/bulk_tag', { body: { ids, add, remove } }))));
  const before = keys.filter((key) => changed.has(key.id));
  const undo = async () => {
    if (remove.length > 0) return restore(before, (key) => ({ tags: key.tags }));
    // What was only added is only removed, so that what others did to the tags meanwhile stays.
    for (const one of add) {
      const had = before.filter((key) => !key.tags.includes(one)).map((key) => key.id);
      if (had.length > 0) await api.POST('/keys/bulk_tag', { body: { ids: had, add: [], remove: [one] } });
    }
  };
  return { changed: changed.size, undo };
}

export async function setProject(keys: KeyView[], project: string | null): Promise<Done> {
  const body = { ids: keys.map((key) => key.id), set: { project } as KeyPatch };
  const changed = new Set(different(await ok(api.POST('/keys/bulk_update', { body }))));
  const before = keys.filter((key) => changed.has(key.id));
  return { changed: changed.size, undo: () => restore(before, (key) => ({ project: ownProject(key) })) };
}

/** A project's name that an operator said; none: the pool goes by what it learned. */
export function ownProject(key: KeyView): string | null {
  return key.declared ? key.project : null;
}

/** Says of every key what was said of it before: one call for all that are alike. */
async function restore(keys: KeyView[], patch: (key: KeyView) => Record<string, unknown>): Promise<void> {
  const alike = new Map<string, number[]>();
  for (const key of keys) {
    const set = JSON.stringify(patch(key));
    alike.set(set, [...(alike.get(set) ?? []), key.id]);
  }
  for (const [set, ids] of alike) {
    await api.POST('/keys/bulk_update', { body: { ids, set: JSON.parse(set) as KeyPatch } });
  }
}

function different({ results }: Schema<'ChangedKeys'>): number[] {
  return results.filter(({ result }) => result === 'changed').map(({ id }) => id);
}
