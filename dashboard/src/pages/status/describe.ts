import type { FeedEvent } from '$lib/feed';
import { cause, format, say } from '$lib/i18n';
import type { en } from './messages';

type Messages = (typeof en)['told'];

/** What something is about, from an event's scope or a transition. */
export interface Subject {
  key?: number | null | undefined;
  project?: string | null | undefined;
  model?: string | null | undefined;
  method?: string | null | undefined;
}

/** A line of the ticker. */
export interface Told {
  badge: { kind: 'status' | 'verdict' | 'key'; value: string | number; label?: string } | undefined;
  text: string;
  request: string | undefined;
  key: number | undefined;
}

export function subjectText({ key, project, model, method }: Subject, scope: string, t: Messages): string {
  const ofKey = key == null ? '' : t.key(String(key));
  if (scope === 'key') return ofKey;
  if (scope === 'method') return t.ofKey(method ?? say('scope', 'method'), ofKey);
  if (scope === 'project') return t.project(project ?? '');
  if (scope === 'model') return t.ofProject(model ?? '', project ?? '');
  return t.forEverybody(model ?? '');
}

const textOf = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);
const numberOf = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);

function scopeOf(value: unknown): { scope: string; subject: Subject } {
  const [scope, held] = typeof value === 'object' && value !== null ? (Object.entries(value)[0] ?? ['', undefined]) : ['', undefined];
  if (typeof held === 'object' && held !== null) return { scope, subject: held as Subject };
  return { scope, subject: scope === 'key' ? { key: numberOf(held) } : { project: textOf(held) } };
}

/** Whether the ticker shows it: a try that succeeded says nothing that its request does not. */
export const shown = ({ type, event }: FeedEvent): boolean => type !== 'Attempted' || event.verdict !== 'success';

export function describe({ type, event }: FeedEvent, t: Messages): Told {
  const key = numberOf(event.key);
  const request = textOf(event.request);
  const model = textOf(event.model);
  const parts = (...all: (string | undefined)[]) => all.filter((part) => part !== undefined).join(' · ');
  const ofKey = key === undefined ? undefined : t.key(String(key));
  if (type === 'Answered') {
    const attempts = numberOf(event.attempts) ?? 1;
    const refused = event.outcome === 'refused' ? say('refusal', textOf(event.reason)) : undefined;
    return {
      badge: { kind: 'status', value: numberOf(event.status) ?? 0 },
      text: parts(
        model ?? textOf(event.path),
        refused || undefined,
        format.duration(numberOf(event.duration_ms) ?? 0),
        attempts > 1 ? t.triesCount(format.number(attempts)) : undefined,
      ),
      request,
      key: undefined,
    };
  }
  if (type === 'GateClosed') {
    const { scope, subject } = scopeOf(event.scope);
    return { badge: { kind: 'verdict', value: textOf(event.cause) ?? '' }, text: subjectText(subject, scope, t), request, key: key ?? subject.key ?? undefined };
  }
  if (type === 'GateOpened') {
    const { scope, subject } = scopeOf(event.scope);
    const label = cause(textOf(event.why));
    return { badge: { kind: 'key', value: 'ready', label }, text: subjectText(subject, scope, t), request, key: subject.key ?? undefined };
  }
  const verdict = textOf(event.verdict);
  if (verdict !== undefined) {
    const what = type === 'Attempted' ? undefined : say('eventType', type);
    return { badge: { kind: 'verdict', value: verdict }, text: parts(what, ofKey, model), request, key };
  }
  const client = numberOf(event.client);
  const ofClient = textOf(event.name) ?? (client === undefined ? undefined : t.client(String(client)));
  return { badge: undefined, text: parts(say('eventType', type), textOf(event.label) ?? ofKey, ofClient, model), request, key };
}
