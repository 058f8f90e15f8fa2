// Leaves out of the built dashboard what it has no use for.
import type { Plugin } from 'vite';

/**
 * What of Svelte nothing here turns on: hydration (no server draws anything), older or other modes, templates that wait
 * for promises, boundaries that show something else meanwhile or after an error, and elements that have a `style` of
 * their own or get their attributes by a spread.
 */
const NEVER: Record<string, [RegExp, string][]> = {
  'client/dom/hydration.js': [[/^export let (hydrating = false;)$/gm, 'export const $1']],
  'flags/index.js': [[/^export let (\w+_flag = false;)$/gm, 'export const $1']],
  'client/reactivity/async.js': [[/if \(async\.length === 0 && pending\.length === 0\)/, 'if (true)']],
  'client/dom/blocks/boundary.js': [
    [/new Boundary\(.*\)/, 'block(() => void branch(() => children(node)), flags)'],
    [/^export class Boundary \{[^]*?^\}/m, ''],
  ],
  'shared/attributes.js': [[/(export function to_style\(value, styles\) \{[^]*?)if \(value\)/, '$1if (false)']],
  'src/utils.js': [[/(const DOM_PROPERTIES = )\[[^]*?\]/, '$1[]']],
};

/** A component that needs some of it after all. */
const MISSED = /\$\.(?:attribute_effect|boundary)\(|\$\.set_style\([\w$]+, (?!'')/;

/** A component without what is for hydration only, and for parents that have slots. */
const withoutCount = (code: string): string =>
  code
    .replace(/^\s*\$\.(?:reset|next)\([\w$]*\);$/gm, '')
    .replace(/\$\.(?:only_)?child\(([\w$]+)(?:, true)?\)/g, '$.child($1)')
    .replace(/(\$\.(?:first_child|sibling)\([\w$]+(?:, \d+)?), true\)/g, '$1)')
    .replace(/,\s*\$\$slots: \{[^{}]*\}/g, '');

/** Once a switch is known to be off for good, the code behind it goes away, and the calls that do nothing without it. */
export function switchedOff(): Plugin {
  return {
    name: 'switched-off',
    apply: 'build',
    enforce: 'post',
    transform: {
      filter: { id: [/\.svelte$/, /\/svelte\/src\/(?:internal\/.*|utils)\.js$/] },
      handler(code, id) {
        if (id.endsWith('.svelte')) {
          const [missed] = MISSED.exec(code) ?? [];
          if (missed) return this.error(`${missed}…: this is left out of Svelte, see scripts/lean.ts`);
          return { code: withoutCount(code), map: null };
        }
        // Makes a class when it is loaded, which is nobody's.
        if (id.endsWith('custom-element.js')) return { code, map: null, moduleSideEffects: false };
        const [, never] = Object.entries(NEVER).find(([file]) => id.endsWith(file)) ?? [];
        if (!never) return null;
        for (const [from, to] of never) {
          const left = code.replace(from, to);
          if (left === code) return this.error(`Svelte has no ${String(from)} any more: see scripts/lean.ts`);
          code = left;
        }
        // What would turn it on or off does nothing.
        return { code: code.replace(/^\t(?:hydrating|\w+_flag) = \w+;$/gm, ''), map: null };
      },
    },
  };
}

/** There is one style sheet, which the page itself has: nothing is left for Vite to fetch ahead of a part. */
export function nothingAhead(): Plugin {
  return {
    name: 'nothing-ahead',
    apply: 'build',
    enforce: 'post',
    transform: {
      filter: { id: /vite\/preload-helper\.js$/ },
      handler: () => ({ code: 'export const __vitePreload = (load) => load();', map: null }),
    },
  };
}
