// From an empty pool to a green first request, by the keyboard alone; left and come back to on the way.
import { app, assert, equal, googleHas, logIn, open, origin, play, sideways, violations } from './stage.mjs';

const GOOD = ['AIza-first-run-0001', 'AIza-first-run-0002'];
const BAD = 'AIza-first-run-bad0';

/** Walks by Tab until the focus is there. */
async function tabTo(page, target) {
  for (let step = 0; step < 60; step += 1) {
    await page.keyboard.press('Tab');
    if (await target.evaluate((node) => node === document.activeElement)) return;
  }
  throw new Error(`the Tab key does not reach ${target}`);
}

await play(async (browser) => {
  const began = Date.now();
  for (const key of GOOD) await googleHas('first-project', key);

  const page = await open(browser, { height: 720 });
  await logIn(page);
  equal(new URL(page.url()).pathname, '/welcome', 'an empty pool leads to its first page');
  const text = page.locator('textarea');
  await text.waitFor();
  // The parts of the page are steps; the first one is open.
  equal(await page.locator('button[data-step]').evaluateAll((all) => all.map((one) => one.ariaExpanded)), [
    'true', 'false', 'false', 'false',
  ]);

  // What is pasted is looked at at once: a .env of another program, with a repetition and something that is no key.
  await tabTo(page, text);
  await page.keyboard.insertText(`AUTH_TOKEN=x\nAPI_KEYS=["${GOOD[0]}", "${GOOD[1]}", "${BAD}", "${GOOD[0]}", "schlüssel"]\n`);
  const counts = page.getByTestId('counts');
  await counts.getByText('3 new').waitFor();
  await counts.getByText('1 repeated').waitFor();
  await counts.getByText('1 cannot be keys').waitFor();
  assert((await page.locator('main').innerText()).includes('…0002'), 'keys are shown by their ends');
  assert(!(await page.locator('main').innerText()).includes(GOOD[1]), 'a key is shown whole outside the box');

  // All of one project.
  await tabTo(page, page.locator('input[type=radio][value=none]'));
  await page.keyboard.press('ArrowDown');
  await tabTo(page, page.getByRole('textbox', { name: 'Project', exact: true }).or(page.getByRole('combobox', { name: 'Project', exact: true })));
  await page.keyboard.insertText('first-project');
  await tabTo(page, page.getByRole('button', { name: 'Add 3 keys' }));
  await page.keyboard.press('Enter');

  // They are tested, and what is wrong is said with its cause.
  const result = page.getByTestId('test-result');
  await result.getByText('2 work').waitFor();
  await result.getByText('1 do not').waitFor();
  await page.getByText('Bad key').first().waitFor();
  equal(await page.evaluate(() => document.activeElement?.dataset.step), '2', 'the focus goes on to the next step');
  equal(await page.locator('button[data-step="1"]').getAttribute('aria-expanded'), 'false');

  // An access key, whose secret is shown once.
  await tabTo(page, page.getByRole('button', { name: 'Make an access key', exact: true }));
  await page.keyboard.press('Enter');
  await page.getByText('Copy it now').waitFor();
  const secret = await page.locator('.made pre').innerText();
  assert(secret.length >= 32, `this is no secret: ${secret}`);

  // Somebody looks at another page and comes back: nothing is lost.
  await page.keyboard.press('g');
  await page.keyboard.press('k');
  await page.waitForURL('**/keys*');
  await page.goBack();
  const waiting = page.getByTestId('arrival');
  await waiting.getByText('Waiting for the first request').waitFor();
  const code = page.getByRole('tabpanel').locator('pre').last();
  assert((await code.innerText()).includes(secret), 'the snippet has the secret');
  assert((await code.innerText()).includes(`${origin}/v1beta/models/gemini-2.5-flash:generateContent`), 'and the address');

  // Each way is there, by arrow keys.
  await page.getByRole('tab', { name: 'curl' }).focus();
  for (const [name, part] of [
    ['Python', 'genai.Client('], ['JavaScript', 'new GoogleGenAI('], ['Gemini CLI', 'GOOGLE_GEMINI_BASE_URL='],
    ['openai', '/v1beta/openai/'], ['LangChain', 'ChatGoogleGenerativeAI('],
  ]) {
    await page.keyboard.press('ArrowRight');
    assert(await page.getByRole('tab', { name }).evaluate((node) => node === document.activeElement), `${name} has the focus`);
    const shown = await code.innerText();
    assert(shown.includes(part) && shown.includes(secret), `${name}: ${shown}`);
  }

  // A key that was copied badly is said; then the first request turns it green.
  equal(await app('hello', { key: `${secret.slice(0, -1)}!` }), 401, 'a wrong access key');
  await waiting.getByText('does not know').waitFor();
  equal(await app('hello', { key: secret }), 200);
  await waiting.getByText('The first request was served.').waitFor({ timeout: 3_000 });
  assert(await page.locator('.snippets.arrived').count(), 'the snippets turned green');
  assert(Date.now() - began < 120_000, 'that took two minutes or more');

  // Whoever loads the page again sees how far it is; the secret is gone.
  await page.reload();
  await page.locator('button[data-step="4"]').waitFor();
  await page.getByText('(done)').nth(3).waitFor({ state: 'attached' });
  assert(!(await page.content()).includes(secret), 'the secret is shown once only');
  const stored = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }));
  assert(!stored.includes(secret) && !GOOD.some((key) => stored.includes(key)), 'a secret lies in the browser’s storage');
  // Now everything pasted is there already.
  await page.locator('textarea').fill(GOOD.join('\n'));
  await counts.getByText('2 in the pool already').waitFor();

  equal(await violations(page), [], 'axe');
  await page.setViewportSize({ width: 320, height: 700 });
  equal(await sideways(page), 0, 'it scrolls sideways at 320 px');
});
