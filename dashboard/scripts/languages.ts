// Gives each language a file of its own in the built dashboard, in which texts have numbers instead of names.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { parseAst, type ESTree, type Plugin } from 'vite';

import type { Shape } from '../src/i18n/text-shapes.ts';

/** Whether a module is of one language. */
export const isText = (id: string): boolean => /(?:\/texts-(?:en|zh)\.ts|\?(?:en|zh))$/.test(id);

/**
 * The texts of every `…messages.ts` are put into `texts-en.ts` and `texts-zh.ts` (from `…messages.ts?en` and `?zh`): lists
 * in the order of their names in English, each its own copy, in which the other language is nobody's and falls away. Whoever
 * imports a `…messages.ts` and reads a text by its name, as `t.title`, then reads it by its number from the list at its
 * place; names are a fifth of the texts, and as much again where they are read. The names of nested texts stand once, in
 * `text-shapes.ts`, for both languages.
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
        if (path.endsWith('/text-shapes.ts')) {
          // What is not nested needs no name.
          const nested = (list: Shape[]) => Object.fromEntries(Object.entries(list).filter(([, shape]) => Object.keys(shape).length > 0));
          const files = all.map((file) => nested(Object.values(textsOf(readFileSync(file, 'utf8'), file))));
          return { code: `export default ${JSON.stringify(nested(files))};`, map: null };
        }
        if (path.endsWith('messages.ts')) {
          if (!language) return { code: 'export {};', map: null };
          const object = exported(code, language);
          const list = listed(code, object, textsOf(code, path));
          return { code: `${code.slice(0, object.start)}${list}${code.slice(object.end)}`, map: null };
        }
        for (const [line, messages = '', from = ''] of code.matchAll(/^import \* as (\w+) from ['"](.*messages)['"];$/gm)) {
          const file = (await this.resolve(from, id))?.id ?? this.error(`${id} imports ${from}, which is not there`);
          const names = Object.keys(textsOf(readFileSync(file, 'utf8'), file));
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

type Expression = ESTree.Expression;

/** The object that a module exports by a name. */
function exported(code: string, name: string): Expression {
  for (const statement of parseAst(code, { lang: 'ts' }).body) {
    const declared = statement.type === 'ExportNamedDeclaration' ? statement.declaration : null;
    if (declared?.type !== 'VariableDeclaration') continue;
    for (const { id, init } of declared.declarations) {
      if (id.type === 'Identifier' && id.name === name && init && propertiesOf(init)) return init;
    }
  }
  throw new Error(`no texts are exported as ${name}`);
}

/** An object's values by their names, in the order in which they are listed; none: it is no object. */
function propertiesOf(object: Expression): Record<string, Expression> | undefined {
  if (object.type !== 'ObjectExpression') return undefined;
  return Object.fromEntries(object.properties.map((property): [string, Expression] => {
    if (property.type !== 'Property' || property.computed) throw new Error('there is more than names and texts');
    const { key } = property;
    if (key.type !== 'Identifier' && key.type !== 'Literal') throw new Error(`${key.type} is no name of a text`);
    return [key.type === 'Identifier' ? key.name : String(key.value), property.value];
  }));
}

/** The names of what both languages have, and of the objects in it; 0: it is no object, or not of the same names in both. */
function shapeOf(english: Expression, chinese: Expression): Shape {
  const [en, zh] = [propertiesOf(english), propertiesOf(chinese)];
  if (!en || !zh || Object.keys(en).sort().join() !== Object.keys(zh).sort().join()) return 0;
  return Object.fromEntries(Object.entries(en).map(([name, inner]) => [name, shapeOf(inner, zh[name]!)]));
}

/** The names of a module's texts. */
function textsOf(code: string, path: string): Exclude<Shape, 0> {
  return shapeOf(exported(code, 'en'), exported(code, 'zh')) || panic(`${path}: only one language has some of its texts`);
}

/** An object as a list, and so are the objects in it. */
function listed(code: string, object: Expression, shape: Shape): string {
  const values = propertiesOf(object);
  if (!values || shape === 0) return code.slice(object.start, object.end);
  return `[${Object.entries(shape).map(([name, inner]) => listed(code, values[name]!, inner)).join(',\n')}]`;
}

function panic(why: string): never {
  throw new Error(why);
}
