// Gives each language a file of its own in the built dashboard, in which texts have numbers instead of names.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { parseAst, type Plugin } from 'vite';

/** Whether a module is of one language. */
export const isText = (id: string): boolean => /(?:\/texts-(?:en|zh)\.ts|\?(?:en|zh))$/.test(id);

/**
 * The texts of every `…messages.ts` are put into `texts-en.ts` and `texts-zh.ts` (from `…messages.ts?en` and `?zh`): lists
 * in the order of their names in English, each its own copy, in which the other language is nobody's and falls away. Whoever
 * imports a `…messages.ts` and reads a text by its name, as `t.title`, then reads it by its number from the list at its
 * place; names are a fifth of the texts, and as much again where they are read. Nested texts keep theirs.
 */
export function languages(): Plugin {
  /** Every `…messages.ts`; its place here is that of its texts. */
  let all: string[] = [];
  return {
    name: 'languages',
    apply: 'build',
    enforce: 'post',
    configResolved: ({ root }) => {
      const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' });
      all = files.map((path) => join(root, 'src', path).replaceAll('\\', '/')).filter((path) => path.endsWith('messages.ts')).sort();
    },
    transform: {
      filter: { id: /\.(?:svelte|ts)(?:\?(?:en|zh))?$/ },
      async handler(code, id) {
        const [path = '', language] = id.split('?');
        const [, of] = /\/texts-(en|zh)\.ts$/.exec(path) ?? [];
        if (of) {
          const imports = all.map((file, at) => `import { ${of} as t${at} } from ${JSON.stringify(`${file}?${of}`)};\n`);
          return { code: `${imports.join('')}export default [${all.map((_, at) => `t${at}`).join()}];`, map: null };
        }
        if (path.endsWith('messages.ts')) {
          if (!language) return { code: 'export {};', map: null };
          const { object, values } = exported(code, language);
          const list = [...exported(code, 'en').values.keys()].map(
            (name) => values.get(name) ?? this.error(`${path} has no ${language}.${name}`),
          );
          return { code: `${code.slice(0, object.start)}[${list.join(',\n')}]${code.slice(object.end)}`, map: null };
        }
        for (const [line, messages = '', from = ''] of code.matchAll(/^import \* as (\w+) from ['"](.*messages)['"];$/gm)) {
          const file = (await this.resolve(from, id))?.id ?? this.error(`${id} imports ${from}, which is not there`);
          const names = [...exported(readFileSync(file, 'utf8'), 'en').values.keys()];
          code = numbered(code, messages, names).replaceAll(`pick(${messages})`, `pick(${all.indexOf(file)})`).replace(line, '');
        }
        return { code, map: null };
      },
    },
  };
}

/** A module's code, in which the texts that it picks from its `messages` are read by their numbers. */
function numbered(code: string, messages: string, names: string[]): string {
  const number = (read: string, name: string | undefined) => {
    const at = names.indexOf(name ?? '');
    if (at < 0) throw new Error(`${read}: texts are read one by one, by names that are written out; nest those that belong together`);
    return `[${at}]`;
  };
  const holds = new RegExp(`(\\w+) = \\$\\.derived\\(\\(\\) => pick\\(${messages}\\)\\);`, 'g');
  const holders = [...code.matchAll(holds)].map(([, holder = '']) => holder);
  if (code.split(`pick(${messages}));`).length - 1 > holders.length) number(`pick(${messages})`, undefined);
  for (const holder of holders) {
    // One name for two things: which of them is read cannot be told here.
    if (new RegExp(`[(,]\\s*${holder}(?:,[^()]*)?\\) =>|\\b${holder} = [^]*\\b(?:const|let|var) ${holder} = `).test(code)) {
      throw new Error(`${holder} are the texts, and something else too`);
    }
    code = code.replace(new RegExp(`(\\$\\.get\\(${holder}\\))(?:\\.(\\w+))?`, 'g'), (read, texts: string, name) => texts + number(read, name));
  }
  return code.replace(new RegExp(`(\\bpick\\(${messages}\\))(?!\\);)(?:\\.(\\w+))?`, 'g'), (read, texts: string, name) => texts + number(read, name));
}

interface Span {
  start: number;
  end: number;
}

/** Where the object stands that a module exports by a name, and what each of its values is. */
function exported(code: string, name: string): { object: Span; values: Map<string, string> } {
  for (const statement of parseAst(code, { lang: 'ts' }).body) {
    const declared = statement.type === 'ExportNamedDeclaration' ? statement.declaration : null;
    if (declared?.type !== 'VariableDeclaration') continue;
    for (const { id, init } of declared.declarations) {
      if (id.type !== 'Identifier' || id.name !== name || init?.type !== 'ObjectExpression') continue;
      const values = init.properties.map((property): [string, string] => {
        if (property.type !== 'Property' || property.key.type !== 'Identifier') throw new Error(`${name} has more than names and texts`);
        return [property.key.name, code.slice(property.value.start, property.value.end)];
      });
      return { object: init, values: new Map(values) };
    }
  }
  throw new Error(`no texts are exported as ${name}`);
}
