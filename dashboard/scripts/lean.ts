// Leaves out of the built dashboard what it has no use for.
import type { Plugin } from 'vite';

/** Switches of Svelte that nothing here turns on: hydration (no server draws anything), and older or other modes. */
const SWITCHES: Record<string, RegExp> = {
  'internal/client/dom/hydration.js': /^export let hydrating = false;$/gm,
  'internal/flags/index.js': /^export let \w+_flag = false;$/gm,
};

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
      filter: { id: [/\.svelte$/, /\/svelte\/src\/internal\/(?:client\/dom\/(?:hydration|elements\/custom-element)|flags\/index)\.js$/] },
      handler(code, id) {
        if (id.endsWith('.svelte')) return { code: withoutCount(code), map: null };
        // Makes a class when it is loaded, which is nobody's.
        if (id.endsWith('custom-element.js')) return { code, map: null, moduleSideEffects: false };
        const [, declared] = Object.entries(SWITCHES).find(([file]) => id.endsWith(file)) ?? [];
        const constant = declared && code.replace(declared, (line) => line.replace('let', 'const'));
        if (!constant || constant === code) return this.error('Svelte has its switches elsewhere: see scripts/lean.ts');
        // What would turn it on or off does nothing.
        return { code: constant.replace(/^\t(?:hydrating|\w+_flag) = \w+;$/gm, ''), map: null };
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
