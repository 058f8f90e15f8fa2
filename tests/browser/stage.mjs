// What every scenario stands on: a browser, the pool that the test program started, and the people around it.
//
// The test program (tests/it/browser.rs) starts the real binary in front of the simulated Google and then this, with
// what it needs in the environment. What only the test program can do (pull the plug, start again, change Google's
// mind) is asked of it by a line on standard output that begins with `@stage`; it answers with a line on standard
// input. Nothing here sleeps: it waits for what the page shows.
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const require = createRequire(import.meta.url);
const env = (name) => {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set; tests/it/browser.rs sets it`);
  return value;
};

export const origin = env('STAGE_ORIGIN');
export const password = env('STAGE_PASSWORD');
export const clientKey = env('STAGE_CLIENT_KEY');
/** Long tests take their time. */
export const long = process.env.GEMINI_POOL_TEST_LONG !== undefined;
/** Pictures of what went wrong, and of what a scenario wants looked at, land here. */
const pictures = env('STAGE_PICTURES');

/** Flags that keep Chromium from asking anybody outside; root needs --no-sandbox. */
const CHROMIUM = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--enable-precise-memory-info',
  '--js-flags=--expose-gc',
];

const answers = [];
const waiting = [];
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const next = waiting.shift();
  if (next) next(JSON.parse(line));
  else answers.push(JSON.parse(line));
});

/** Asks the test program for something and waits until it is done. */
async function ask(request) {
  process.stdout.write(`@stage ${JSON.stringify(request)}\n`);
  const answer = answers.shift() ?? (await new Promise((resolve) => waiting.push(resolve)));
  if (answer.error) throw new Error(`the stage could not: ${answer.error}`);
  return answer;
}

/** Pulls the plug: SIGKILL. */
export const killServer = () => ask({ do: 'kill' });
/** Starts it again, on the same port and data. */
export const startServer = () => ask({ do: 'start' });
/** Gives a key another state at Google: good, bad, leaked, suspended. */
export const keyIs = (key, state) => ask({ do: 'key', key, state });
/** Adds a good key of a project to Google. */
export const googleHas = (project, key) => ask({ do: 'add', project, key });
/** Limits a project's model at Google. */
export const limit = (project, model, perMinute, perDay) => ask({ do: 'limit', project, model, perMinute, perDay });
/** Google fails the next so many calls with 503. */
export const overloaded = (times) => ask({ do: 'overloaded', times });

/** An app asks the pool; gives the status. */
export async function app(text, { model = 'gemini-2.5-flash', key = clientKey, stream = false } = {}) {
  const method = stream ? 'streamGenerateContent?alt=sse' : 'generateContent';
  const answer = await fetch(`${origin}/v1beta/models/${model}:${method}`, {
    method: 'POST',
    headers: { 'x-goog-api-key': key, 'content-type': 'application/json' },
    body: JSON.stringify({ contents: [{ role: 'user', parts: [{ text }] }] }),
  });
  await answer.arrayBuffer();
  return answer.status;
}

let token;
/** An operator at the admin API, beside the page; gives the answer's JSON. */
export async function admin(verb, path, body, headers = {}) {
  token ??= (await (await fetch(`${origin}/api/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: 'admin', password }),
  })).json()).access_token;
  const answer = await fetch(`${origin}/api${path}`, {
    method: verb,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${verb} ${path}: ${answer.status} ${text}`);
  return text === '' ? null : JSON.parse(text);
}

/** Fails with what was expected. */
export function assert(condition, message) {
  if (!condition) throw new Error(message);
}

export function equal(is, wanted, message = 'unequal') {
  const [a, b] = [JSON.stringify(is), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${message}: ${a} instead of ${b}`);
}

/** Opens a page of its own (cookies, language, theme), or of another one (given by `beside`): a tab of the same browser.
 *  Whatever it says in its console as an error, each request to another origin and each failed load of a file is kept,
 *  and fails the scenario at its end unless allowed. */
export async function open(browser, options = {}) {
  const { locale = 'en-US', scheme = 'light', width = 1280, height = 800, reduced = true, beside } = options;
  const context = beside?.context() ?? await browser.newContext({
    locale,
    colorScheme: scheme,
    viewport: { width, height },
    reducedMotion: reduced ? 'reduce' : 'no-preference',
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.stack ?? error}`));
  page.on('console', (message) => {
    // A refused or unreachable call is said by the browser itself; what the page does with it is tested.
    const own = message.text().startsWith('Failed to load resource');
    if (message.type() === 'error' && !own) complaints.push(`console: ${message.text()}`);
  });
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(origin) && !/^(data|blob|about):/.test(url)) complaints.push(`another origin: ${url}`);
  });
  opened.push({ page, complaints });
  return page;
}
const opened = [];

/** Logs in by the form, and waits for the page behind it. */
export async function logIn(page, path = '/status') {
  await page.goto(`${origin}/`);
  await page.locator('input[autocomplete="username"]').fill('admin');
  await page.locator('input[autocomplete="current-password"]').fill(password);
  await page.locator('form button[type="submit"]').click();
  await page.waitForURL((url) => url.pathname !== '/');
  if (path !== '/status') await page.goto(`${origin}${path}`);
  await page.locator('main h1').first().waitFor();
}

const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
/** What axe finds that is serious or critical, as lines; none is wanted. By some of its rules and within a part of the
 *  page only, where they are said. */
export async function violations(page, { rules, within } = {}) {
  // By the debugger's door, which a strict content security policy leaves open.
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axe);
  const options = { runOnly: rules ? { type: 'rule', values: rules } : { type: 'tag', values: TAGS }, resultTypes: ['violations'] };
  const { violations: found } = await page.evaluate(
    ([where, how]) => globalThis.axe.run(where ?? document, how),
    [within ?? null, options],
  );
  return found
    .filter((violation) => ['serious', 'critical'].includes(violation.impact))
    .map((violation) =>
      `${violation.id}: ${violation.help}\n    ${violation.nodes.slice(0, 4).map((node) => `${node.html} (${node.failureSummary})`).join('\n    ')}`,
    );
}

/** Whether the page scrolls sideways. */
export const sideways = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** Takes a picture. */
export const picture = (page, name) => page.screenshot({ path: join(pictures, `${name}.png`) });

/** Plays a scenario: fails with what went wrong and a picture of every open page. */
export async function play(scenario) {
  const browser = await chromium.launch({
    executablePath: process.env.GEMINI_POOL_TEST_CHROMIUM ?? '/usr/bin/chromium',
    args: CHROMIUM,
  });
  let status = 0;
  try {
    await scenario(browser);
    const complaints = opened.flatMap(({ complaints }) => complaints);
    assert(complaints.length === 0, `the pages complained:\n${complaints.join('\n')}`);
    console.log('the scenario went well');
  } catch (error) {
    status = 1;
    console.log(error.stack ?? error);
    for (const [number, { page, complaints }] of opened.entries()) {
      console.log(`page ${number}: ${page.url()}\n${complaints.join('\n')}`);
      await page.screenshot({ path: join(pictures, `failed-${number}.png`), fullPage: true }).catch(() => {});
      console.log(await page.locator('body').innerText().then((text) => text.slice(0, 3_000)).catch(() => ''));
    }
    console.log(`pictures: ${pictures}`);
  }
  await browser.close();
  lines.close();
  process.exit(status);
}
