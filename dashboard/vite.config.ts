import { fileURLToPath } from 'node:url';

import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

/** The pool that `npm run dev` talks to. */
const pool = process.env.GEMINI_POOL_URL ?? 'http://127.0.0.1:8000';
// The pool judges changes by where the browser says they come from, so the proxy keeps the page's own host.
const passed = { target: pool, changeOrigin: false };

export default defineConfig({
  plugins: [svelte({ configFile: false, compilerOptions: { runes: true } })],
  resolve: {
    alias: { $lib: fileURLToPath(new URL('./src', import.meta.url)) },
    // Tests mount components as a browser would.
    ...(process.env.VITEST ? { conditions: ['browser'] } : {}),
  },
  server: { proxy: { '/api': passed, '/v1beta': passed, '/v1': passed, '/healthz': passed } },
  build: {
    target: 'es2023',
    // The content security policy allows no `data:` addresses and no inline scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    sourcemap: false,
    license: false,
  },
  test: { environment: 'happy-dom', include: ['src/**/*.test.ts'] },
});
