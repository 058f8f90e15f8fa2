import type { Schema } from '$lib/api/client';

/** What can be said of one key besides its secret. */
export type KeyFields = Omit<Schema<'KeyEntry'>, 'key'>;

export interface FoundKey {
  secret: string;
  /** `repeated`: stands further up already. `malformed`: no header can carry it, so it is no key. */
  state: 'good' | 'repeated' | 'malformed';
  /** It does not begin as Google's keys do today. Only a hint: their form has changed before. */
  unusual: boolean;
  /** What the text says of it (objects of a JSON list). */
  fields: KeyFields;
}

export interface KeysText {
  /** How the text was understood. */
  format: 'empty' | 'list' | 'json' | 'env';
  keys: FoundKey[];
  /** Access keys of apps, which some `.env` files and exports carry along. */
  clients: string[];
  /** Why a text that means to be JSON is none, or where an entry is not understood (from 1). Never repeats the text. */
  problem: { kind: 'json' } | { kind: 'entry'; place: number } | undefined;
}

/** Fields that an entry of a JSON list may have, as the server takes them. */
const FIELDS = ['label', 'project', 'note', 'tags', 'models', 'priority', 'weight', 'enabled', 'proxy'] as const;
/** Variables with upstream keys: the original's, gemini-balance's, and what Google's own tools read. */
const KEY_VARIABLE = /^(API_KEYS?|(GEMINI|GOOGLE)(_\w+)?_KEYS?|(GEMINI|GOOGLE)_API_KEYS?_?\d+)$/;
/** Variables with keys of apps. */
const CLIENT_VARIABLE = /^(ALLOWED_API_KEYS|ALLOWED_TOKENS)$/;
const ASSIGNMENT = /^\s*(?:export\s+|set\s+)?([A-Za-z_]\w*)\s*=(.*)$/;
/** Whatever people put between keys; the wide forms come from Chinese keyboards. */
const SEPARATORS = /[\s,;|，、；｜]+/;
/** What is left at a key's ends when it was cut out of code or prose. */
const WRAPPING = /^["'`“”‘’([{<]+|["'`“”‘’)\]}>:.]+$/g;

/** Reads keys from a text in any of the forms that they are kept in. Pure; tells nobody. */
export function readKeysText(text: string): KeysText {
  const given = text.replace(/^\uFEFF/, '').trim();
  if (given === '') return result('empty', [], []);
  if (/^[[{]/.test(given)) {
    const json = fromJson(given);
    if (json) return json;
  }
  return fromEnv(given) ?? result('list', words(given).map(bare), []);
}

/** The last four characters, as lists of keys show them. */
export function tailOf(secret: string): string {
  return secret.length <= 8 ? secret.slice(-2) : secret.slice(-4);
}

/** Whether the server would take it for a secret at all. */
export function sendable(secret: string): boolean {
  return secret.length <= 512 && /^[\x21-\x7e]+$/.test(secret);
}

interface Entry {
  secret: string;
  fields: KeyFields;
}

const bare = (secret: string): Entry => ({ secret, fields: {} });

function result(format: KeysText['format'], entries: Entry[], clients: string[], problem?: KeysText['problem']): KeysText {
  const seen = new Set<string>();
  const keys = entries.map(({ secret, fields }): FoundKey => {
    const state = !sendable(secret) ? 'malformed' : seen.has(secret) ? 'repeated' : 'good';
    seen.add(secret);
    return { secret, state, unusual: !/^(AIza|AQ\.)/.test(secret), fields };
  });
  return { format, keys, clients: [...new Set(clients)], problem };
}

/** Keys between any separators; lines that begin with `#` or `//` are remarks. */
function words(text: string): string[] {
  return text
    .split(/\r?\n/)
    .filter((line) => !/^\s*(#|\/\/)/.test(line))
    .flatMap((line) => line.split(SEPARATORS))
    .map((word) => word.replace(WRAPPING, ''))
    .filter((word) => word !== '');
}

/** A list, or an object that has one; nothing where the text only begins as one and is read as words instead. */
function fromJson(text: string): KeysText | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // `[AIza…, AIza…]` without quotes is a list all the same; with a colon or a brace inside it meant to be JSON.
    return /[{}]|":/.test(text) ? result('json', [], [], { kind: 'json' }) : undefined;
  }
  const clients: string[] = [];
  let list: unknown = value;
  if (isObject(value)) {
    for (const [name, held] of Object.entries(value)) {
      if (CLIENT_VARIABLE.test(name)) clients.push(...strings(held));
    }
    const named = Object.entries(value).find(([name, held]) => Array.isArray(held) && (KEY_VARIABLE.test(name) || name === 'keys'));
    list = named ? named[1] : 'key' in value ? [value] : undefined;
  }
  if (!Array.isArray(list)) return result('json', [], clients, clients.length > 0 ? undefined : { kind: 'entry', place: 1 });
  const entries: Entry[] = [];
  for (const [at, one] of list.entries()) {
    const entry = entryOf(one);
    if (entry === undefined) return result('json', entries, clients, { kind: 'entry', place: at + 1 });
    if (entry.secret !== '') entries.push(entry);
  }
  return result('json', entries, clients);
}

function entryOf(one: unknown): Entry | undefined {
  if (typeof one === 'string') return bare(one.trim());
  if (!isObject(one) || typeof one.key !== 'string') return undefined;
  // Fields of later versions and of other programs are left out, for the server refuses what it does not know.
  const known = FIELDS.flatMap((name) => (one[name] === undefined || one[name] === null ? [] : [[name, one[name]]]));
  return { secret: one.key.trim(), fields: Object.fromEntries(known) as KeyFields };
}

/** The variables of a `.env` that hold keys; nothing where no line is one. */
function fromEnv(text: string): KeysText | undefined {
  const keys: string[] = [];
  const clients: string[] = [];
  const lines = text.split(/\r?\n/);
  let any = false;
  for (let at = 0; at < lines.length; at += 1) {
    const [, name = '', first = ''] = ASSIGNMENT.exec(lines[at] ?? '') ?? [];
    const upper = name.toUpperCase();
    const into = CLIENT_VARIABLE.test(upper) ? clients : KEY_VARIABLE.test(upper) ? keys : undefined;
    if (!into) continue;
    any = true;
    let value = first.trim();
    const closes = /^(["'])/.exec(value)?.[1] ?? (value.startsWith('[') ? ']' : '');
    // A JSON list, or a quoted value, may go over several lines.
    while (closes !== '' && !(value.length > 1 && value.replace(/\s+#.*$/, '').endsWith(closes)) && at + 1 < lines.length) {
      at += 1;
      value += `\n${lines[at] ?? ''}`;
    }
    into.push(...words(value.replace(/\s#.*$/gm, '')));
  }
  return any ? result('env', keys.map(bare), clients) : undefined;
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : typeof value === 'string' ? words(value) : [];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
