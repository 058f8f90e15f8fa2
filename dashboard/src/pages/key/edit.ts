import { Problem, api, ok, type Schema } from '$lib/api/client';
import { ownProject } from '../keys/bulk';
import type { KeyView } from '../keys/list.svelte';
import { wordsOf } from '../keys/words';

export type KeyPatch = Schema<'KeyPatch'>;
export type Field = (typeof FIELDS)[number];

export const FIELDS = ['label', 'project', 'tags', 'note', 'weight', 'priority', 'models', 'proxy', 'enabled'] as const;

/** A key as a form holds it. */
export interface Draft {
  label: string;
  project: string;
  tags: string;
  note: string;
  weight: number | null;
  priority: number | null;
  models: string;
  proxy: string;
  enabled: boolean;
}

export function draftOf(key: KeyView): Draft {
  return {
    label: key.label,
    project: ownProject(key) ?? '',
    tags: key.tags.join(', '),
    note: key.note,
    weight: key.weight,
    priority: key.priority,
    models: key.models.join(', '),
    proxy: key.proxy ?? '',
    enabled: key.state !== 'disabled',
  };
}

/** The fields in which two differ, by what they mean. */
export function different(one: Draft, other: Draft): Field[] {
  const [a, b] = [patchOf(one, FIELDS), patchOf(other, FIELDS)];
  return FIELDS.filter((field) => JSON.stringify(a[field]) !== JSON.stringify(b[field]));
}

/** What the API is told for some of the fields. */
export function patchOf(draft: Draft, fields: readonly Field[]): KeyPatch {
  const all = {
    label: draft.label.trim(),
    project: draft.project.trim() || null,
    tags: wordsOf(draft.tags),
    note: draft.note,
    weight: draft.weight ?? 1,
    priority: draft.priority ?? 100,
    models: wordsOf(draft.models),
    proxy: draft.proxy.trim() || null,
    enabled: draft.enabled,
  } satisfies KeyPatch;
  return Object.fromEntries(fields.map((field) => [field, all[field]])) as KeyPatch;
}

/** Changes a key, if it is still what its operator saw. */
export function change(id: number, revision: number, body: KeyPatch): Promise<KeyView> {
  return ok(api.PATCH('/keys/{key_id}', { params: { path: { key_id: id }, header: { 'If-Match': `"${revision}"` } }, body }));
}

export const isStale = (error: unknown): boolean => error instanceof Problem && error.code === 'changed_meanwhile';

/** An own proxy is shown without its name and password, so an older one cannot be put back for certain. */
export const canUndo = (fields: readonly Field[], before: Draft): boolean => !fields.includes('proxy') || ['', 'direct'].includes(before.proxy);
