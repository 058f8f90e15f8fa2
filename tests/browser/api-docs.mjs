// The API's page: it shows the document, and what is tried on it is a call by the session, a change as well.
import { admin, assert, equal, logIn, open, origin, picture, play } from './stage.mjs';

await play(async (browser) => {
  const page = await open(browser);
  const refused = [];
  page.on('requestfailed', (request) => refused.push(request.url()));
  page.on('response', (answer) => answer.status() >= 400 && refused.push(`${answer.status()} ${answer.url()}`));
  await page.addInitScript(() => {
    globalThis.violated = [];
    document.addEventListener('securitypolicyviolation', (event) => globalThis.violated.push(event.violatedDirective));
  });

  const stranger = await page.goto(`${origin}/api/docs`);
  equal([stranger.status(), (await stranger.json()).code], [401, 'not_logged_in'], 'a stranger');
  await logIn(page);
  // The page behind the login goes, and its stream of events with it.
  await page.goto('about:blank');
  refused.length = 0;
  await page.goto(`${origin}/api/docs`);
  await page.getByRole('heading', { name: 'Gemini-Pool' }).waitFor();
  const document = await (await fetch(`${origin}/api/openapi.json`)).json();
  const verbs = ['get', 'post', 'put', 'patch', 'delete'];
  const wanted = Object.values(document.paths).flatMap((item) => Object.keys(item)).filter((verb) => verbs.includes(verb));
  await page.locator('.opblock').nth(wanted.length - 1).waitFor();
  equal(await page.locator('.opblock').count(), wanted.length, 'operations');
  await picture(page, 'page');

  // Opens an operation, says what it takes, sends it; gives the status that came.
  const call = async (id, fill) => {
    const block = page.locator(`.opblock[id$="-${id}"]`);
    await block.locator('.opblock-summary-control').click();
    await block.getByRole('button', { name: 'Try it out' }).click();
    await fill?.(block);
    await block.getByRole('button', { name: 'Execute' }).click();
    const status = block.locator('.live-responses-table tbody td.response-col_status').first();
    await status.waitFor();
    return Number.parseInt(await status.innerText(), 10);
  };
  equal(await call('list_keys'), 200, 'reading');
  equal(await call('update_key', async (block) => {
    await block.locator('tr[data-param-name="key_id"] input').fill('1');
    await block.locator('.body-param textarea').fill('{"note": "said on the page"}');
  }), 200, 'a change, by the cookie');
  await picture(page, 'tried');
  equal((await admin('GET', '/keys/1/summary')).note, 'said on the page', 'the change');

  equal(await page.evaluate(() => globalThis.violated), [], 'what the policy refused');
  assert(refused.length === 0, `refused:\n${refused.join('\n')}`);
});
