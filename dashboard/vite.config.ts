import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

import { isText, languages } from './scripts/languages.ts';
import { nothingAhead, switchedOff } from './scripts/lean.ts';
import { onlyOurPlots } from './scripts/plots.ts';
import { shorter } from './scripts/shorter.ts';

const src = fileURLToPath(new URL('./src', import.meta.url));
// The classes that tell one component's styles from another's are their numbers: short, and the same in every build.
const parts = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .map((path) => path.replaceAll('\\', '/'))
  .filter((path) => path.endsWith('.svelte'))
  .sort();
/** The pool that `npm run dev` talks to. */
const pool = process.env.GEMINI_POOL_URL ?? 'http://127.0.0.1:8000';
// The pool judges changes by where the browser says they come from, so the proxy keeps the page's own host.
const passed = { target: pool, changeOrigin: false };

export default defineConfig({
  plugins: [
    languages(),
    svelte({
      configFile: false,
      compilerOptions: { runes: true, cssHash: ({ filename }) => `_${parts.findIndex((part) => filename?.endsWith(`src/${part}`)).toString(36)}` },
    }),
    switchedOff(),
    nothingAhead(),
    onlyOurPlots(),
    shorter(),
  ],
  resolve: {
    alias: { $lib: src },
    // Tests mount components as a browser would.
    ...(process.env.VITEST ? { conditions: ['browser'] } : {}),
  },
  server: { proxy: { '/api': passed, '/v1beta': passed, '/v1': passed, '/healthz': passed } },
  build: {
    target: 'es2023',
    // The content security policy allows no `data:` addresses and no inline scripts.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
    sourcemap: false,
    license: false,
    cssCodeSplit: false,
    rollupOptions: {
      output: {
        // What is alike is packed best together: all pages at once take a sixth less than each by itself. The entry has
        // what the login needs, and each language is a file of its own (scripts/languages.ts).
        codeSplitting: {
          groups: [
            { name: 'main', test: (id) => id === `${src}/main.ts`, priority: 2 },
            { name: 'pages', test: (id) => id.startsWith(src) && !isText(id), priority: 1 },
          ],
        },
      },
    },
  },
  test: { environment: 'happy-dom', include: ['src/**/*.test.ts'] },
});
