// Takes the pictures of the READMEs from `gemini-pool demo`: node scripts/screenshots.mjs [PROGRAM]
//
// PROGRAM is the built program (target/release/gemini-pool unless told); chromium is Debian's. It starts the demo on a
// port of its own, logs in, lets it run for a moment, and writes docs/images/*.png. It ends what it started.
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const root = join(import.meta.dirname, '../..');
const program = process.argv[2] ?? join(root, 'target/release/gemini-pool');
const folder = join(root, 'docs/images');
mkdirSync(folder, { recursive: true });

/** What is shown: file, path, language, theme, width and height. */
const PICTURES = [
  ['status-light', '/status?range=24h', 'en-US', 'light', 1280, 800],
  ['status-dark', '/status?range=24h', 'en-US', 'dark', 1280, 800],
  ['status-zh-TW', '/status?range=24h', 'zh-TW', 'light', 1280, 800],
  ['keys-light', '/keys', 'en-US', 'light', 1280, 800],
  ['models-dark', '/models', 'en-US', 'dark', 1280, 800],
  ['requests-zh-TW', '/requests?tries_min=2', 'zh-TW', 'light', 1280, 800, 'first'],
  ['requests-light', '/requests?tries_min=2', 'en-US', 'light', 1280, 800, 'first'],
  ['history-dark', '/history', 'en-US', 'dark', 1280, 800],
];

const demo = spawn(program, ['demo'], {
  env: { PATH: process.env.PATH, PORT: '8466' },
  stdio: ['ignore', 'ignore', 'pipe'],
});
const told = await new Promise((resolve, reject) => {
  let text = '';
  createInterface({ input: demo.stderr }).on('line', (line) => {
    text += `${line}\n`;
    const found = /dashboard is at (\S+), for `admin` with the password ([0-9a-f]+)/.exec(text);
    if (found) resolve({ origin: found[1], password: found[2] });
  });
  demo.on('exit', () => reject(new Error(`the demo ended:\n${text}`)));
});

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
});
try {
  // A few dozen requests of this run, too: gates close, keys are found bad.
  await new Promise((resolve) => setTimeout(resolve, 40_000));
  for (const [name, path, locale, colorScheme, width, height, peek] of PICTURES) {
    const page = await browser.newPage({ locale, colorScheme, viewport: { width, height }, reducedMotion: 'reduce' });
    await page.goto(`${told.origin}/`);
    await page.locator('input[autocomplete="username"]').fill('admin');
    await page.locator('input[autocomplete="current-password"]').fill(told.password);
    await page.locator('form button[type="submit"]').click();
    await page.waitForURL((url) => url.pathname !== '/');
    await page.goto(`${told.origin}${path}`);
    await page.locator('main h1').first().waitFor();
    if (peek) {
      await page.locator('[role="row"][aria-rowindex="2"]').first().click();
    }
    // Plots and lists come one after the other; the feed never lets the network rest.
    await page.waitForTimeout(3_000);
    await page.screenshot({ path: join(folder, `${name}.png`) });
    console.log(`docs/images/${name}.png`);
    await page.close();
  }
} finally {
  await browser.close();
  demo.kill('SIGINT');
}
