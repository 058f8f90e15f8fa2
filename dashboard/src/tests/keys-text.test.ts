import { describe, expect, it } from 'vitest';

import { readKeysText } from '$lib/keys-text';

const secrets = (text: string) => readKeysText(text).keys.map(({ secret }) => secret);
const A = 'AIzaSyA-one';
const B = 'AIzaSyB-two';
const C = 'AQ.three';

describe('a list of keys', () => {
  it('has any separators', () => {
    for (const text of [`${A}\n${B}\r\n${C}`, `${A}, ${B};${C}`, `  ${A}\t${B} | ${C} `, `${A}，${B}、${C}`]) {
      expect(readKeysText(text).format).toBe('list');
      expect(secrets(text)).toEqual([A, B, C]);
    }
  });

  it('may be cut out of code', () => {
    expect(secrets(`"${A}",\n'${B}',\n\`${C}\`,`)).toEqual([A, B, C]);
    expect(secrets(`[${A}, ${B}]`)).toEqual([A, B]);
  });

  it('has remarks, and empty lines', () => {
    expect(secrets(`# mine\n${A}\n\n// yours\n${B}\n`)).toEqual([A, B]);
  });

  it('is empty', () => {
    expect(readKeysText(' \n\uFEFF').keys).toEqual([]);
    expect(readKeysText('')).toEqual({ format: 'empty', keys: [], clients: [], problem: undefined });
  });

  it('tells repetitions, what cannot be a key, and what looks unlike one', () => {
    const { keys } = readKeysText(`${A} ${B} ${A} schlüssel ${'x'.repeat(513)} other`);
    expect(keys.map(({ state }) => state)).toEqual(['good', 'good', 'repeated', 'malformed', 'malformed', 'good']);
    expect(keys.map(({ unusual }) => unusual)).toEqual([false, false, false, true, true, true]);
  });
});

describe('JSON', () => {
  it('is a list of texts', () => {
    const found = readKeysText(` ["${A}", " ${B} ", ""] `);
    expect(found.format).toBe('json');
    expect(found.keys.map(({ secret }) => secret)).toEqual([A, B]);
  });

  it('is a list of objects, with what is said of each', () => {
    const { keys } = readKeysText(JSON.stringify([{ key: A, project: 'p', tags: ['x'], weight: 5, seen: 1, note: null }, B]));
    expect(keys[0]).toEqual({ secret: A, state: 'good', unusual: false, fields: { project: 'p', tags: ['x'], weight: 5 } });
    expect(keys[1]?.fields).toEqual({});
  });

  it('is an export, one object, or another program’s settings', () => {
    expect(secrets(JSON.stringify({ keys: [{ key: A }, B] }))).toEqual([A, B]);
    expect(secrets(JSON.stringify({ key: A, label: 'spare' }))).toEqual([A]);
    const balance = readKeysText(JSON.stringify({ API_KEYS: [A, B], ALLOWED_TOKENS: ['sk-1'], MAX_FAILURES: 3 }));
    expect(balance.keys.map(({ secret }) => secret)).toEqual([A, B]);
    expect(balance.clients).toEqual(['sk-1']);
  });

  it('says what is wrong by its place, and never repeats it', () => {
    for (const [text, problem] of [
      [`[{"key": "${A}"`, { kind: 'json' }],
      [`["${A}", 5]`, { kind: 'entry', place: 2 }],
      [`[{"name": "${A}"}]`, { kind: 'entry', place: 1 }],
      ['{"a": 1}', { kind: 'entry', place: 1 }],
    ] as const) {
      const found = readKeysText(text);
      expect(found.problem).toEqual(problem);
      expect(JSON.stringify(found.problem)).not.toContain(A);
    }
  });
});

describe('.env', () => {
  it('is the original’s', () => {
    const found = readKeysText(`PORT=8000\nexport GEMINI_API_KEYS=${A},${B} # two\nALLOWED_API_KEYS="app-1 app-2"\n`);
    expect(found.format).toBe('env');
    expect(found.keys.map(({ secret }) => secret)).toEqual([A, B]);
    expect(found.clients).toEqual(['app-1', 'app-2']);
  });

  it('is gemini-balance’s, in one line or several', () => {
    for (const list of [`["${A}","${B}"]`, `[\n  "${A}",\n  "${B}"\n]`, `'["${A}", "${B}"]'`]) {
      const found = readKeysText(`MYSQL_HOST=db\nAPI_KEYS=${list}\nALLOWED_TOKENS=["sk-1"]\nVERTEX_API_KEYS=["no"]\nAUTH_TOKEN=sk-2`);
      expect(found.keys.map(({ secret }) => secret)).toEqual([A, B]);
      expect(found.clients).toEqual(['sk-1']);
    }
  });

  it('has one key to a variable', () => {
    expect(secrets(`GEMINI_API_KEY=${A}\nGOOGLE_API_KEY_2='${B}'\nOPENAI_API_KEY=sk-no`)).toEqual([A, B]);
  });

  it('is not what only looks so', () => {
    // A key may end in `=`.
    expect(readKeysText(`${C}=\n${A}`).format).toBe('list');
  });
});
