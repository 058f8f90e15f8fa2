// Gives each language a file of its own in the built dashboard.
import { relative } from 'node:path';

import type { Plugin } from 'vite';

/** Whether a module is of one language. */
export const isText = (id: string): boolean => /(?:\/texts-(?:en|zh)\.ts|\?(?:en|zh))$/.test(id);

/**
 * A `…messages.ts` that is imported as such gives way to the place where `src/i18n/texts.ts` finds its texts. Its
 * contents are imported by `texts-en.ts` and `texts-zh.ts` (as `…messages.ts?en` and `?zh`), each its own copy, in which
 * the other language is nobody's and falls away.
 */
export function languages(): Plugin {
  let root = '';
  return {
    name: 'languages',
    apply: 'build',
    enforce: 'pre',
    configResolved: (config) => {
      root = config.root;
    },
    transform: {
      filter: { id: /messages\.ts$/ },
      handler(_, id) {
        // As `import.meta.glob` names it.
        const at = `/${relative(root, id).replaceAll('\\', '/')}`;
        return { code: `export const at = ${JSON.stringify(at)};`, map: null };
      },
    },
  };
}
