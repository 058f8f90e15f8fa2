// The request log: live rows, facets, filters that survive a reload, the drawer, views, export, print.
import { readFileSync } from 'node:fs';
import { admin, app, assert, clientKey, equal, logIn, open, origin, overloaded, picture, play, sideways, violations } from './stage.mjs';

await play(async (browser) => {
  for (const text of ['one', 'two']) equal(await app(text), 200);
  await overloaded(1);
  equal(await app('failed over'), 200);
  equal(await app('nobody has it', { model: 'no-such-model' }), 404);
  const { request_logs: [twice] } = await admin('GET', '/request_logs?tries_min=2&limit=1');
  assert(twice, 'no request was tried twice');

  const page = await open(browser);
  await logIn(page, '/requests');
  const grid = page.getByRole('grid', { name: 'Requests, newest first' });
  const rows = grid.locator('[role=rowgroup] [role=row]');
  const query = () => new URL(page.url()).searchParams;
  /** Waits until the address says so. */
  const says = (name, value) => page.waitForURL((url) => url.searchParams.get(name) === value);
  await rows.first().waitFor();

  // A row is there within a second of its request. (The best of three: others may have the processors.)
  let quickest = Infinity;
  for (let turn = 0; turn < 3 && quickest > 1_000; turn += 1) {
    const model = `live-${turn}`;
    await app('live', { model });
    const began = Date.now();
    await rows.filter({ hasText: model }).first().waitFor();
    quickest = Math.min(quickest, Date.now() - began);
  }
  assert(quickest <= 1_000, `a row took ${quickest} ms`);

  // Rows do not move under a pointer: what is new waits.
  await grid.hover();
  const before = await rows.first().getAttribute('id');
  await app('waits', { model: 'waiting' });
  const pill = page.getByRole('button', { name: /\d new/ });
  await pill.waitFor();
  equal(await rows.first().getAttribute('id'), before, 'a row jumped');
  await page.mouse.move(0, 0);
  await rows.filter({ hasText: 'waiting' }).first().waitFor();
  // Nor where somebody wants to let them in by hand.
  await page.getByRole('button', { name: 'Live', exact: true }).click();
  await says('live', 'off');
  await app('asked for', { model: 'by-hand' });
  await pill.click();
  await rows.filter({ hasText: 'by-hand' }).first().waitFor();
  await page.getByRole('button', { name: 'Live', exact: true }).click();

  // Facets narrow, say so in the address, and are there again after a reload.
  const facet = page.getByRole('list', { name: 'Status' }).getByRole('button', { name: /^404/ });
  await facet.click();
  await says('status', '404');
  const off = () => rows.filter({ hasText: /\b200\b/ });
  await off().first().waitFor({ state: 'detached' });
  await rows.filter({ hasText: 'no-such-model' }).first().waitFor();
  await page.reload();
  await rows.filter({ hasText: 'no-such-model' }).first().waitFor();
  equal(await facet.getAttribute('aria-pressed'), 'true');
  equal(await off().count(), 0, 'a row that does not fit');

  // A view keeps them under a name.
  await page.getByRole('button', { name: 'Views' }).click();
  await page.getByRole('textbox', { name: 'Name of the view' }).fill('Not found');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await says('view', 'Not found');
  await page.goto(`${origin}/requests`);
  await page.getByRole('button', { name: 'Views' }).click();
  await page.getByRole('link', { name: 'Not found' }).click();
  await says('status', '404');

  // Both forms of the export have what is filtered.
  const { request_logs: listed } = await admin('GET', '/request_logs?status=404&limit=1000');
  for (const [form, read] of [
    ['CSV', (text) => text.trim().split('\n').length - 1],
    ['JSON lines', (text) => text.trim().split('\n').map((line) => JSON.parse(line)).length],
  ]) {
    await page.getByRole('button', { name: 'Export' }).click();
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: form }).click()]);
    equal(read(readFileSync(await download.path(), 'utf8')), listed.length, form);
  }

  // Columns are chosen, and stay so.
  await page.getByRole('button', { name: 'Columns' }).click();
  await page.getByRole('checkbox', { name: 'Address' }).check();
  await page.keyboard.press('Escape');
  await page.goto(`${origin}/requests?tries_min=2`);
  await grid.getByRole('columnheader', { name: 'Address' }).waitFor();

  // The request that failed over: both of its tries, to scale.
  await page.getByRole('searchbox', { name: 'Error text or request ID' }).fill(twice.id);
  await says('text', twice.id);
  await page.waitForFunction(() => document.querySelectorAll('[role=rowgroup] [role=row]').length === 1);
  await rows.first().click();
  await says('request', twice.id);
  const timeline = page.getByTestId('timeline');
  await timeline.waitFor();
  equal(await timeline.getByRole('listitem').count(), 1 + twice.tries, 'the client and each try');
  const drawer = page.getByRole('complementary');
  await drawer.getByText(/first byte/).first().waitFor();
  assert((await timeline.innerText()).includes('200'), 'no 200 in the timeline');
  await drawer.getByRole('link', { name: 'Change what is kept' }).waitFor();
  await drawer.getByText('Body logging is off').waitFor();
  await drawer.getByRole('button', { name: 'Copy as curl' }).click();
  await drawer.getByRole('button', { name: 'Copied' }).waitFor();
  const command = await page.evaluate(() => navigator.clipboard.readText());
  assert(command.startsWith('curl ') && command.includes('$GEMINI_POOL_KEY') && !command.includes(clientKey), command);
  await drawer.locator('summary').click();
  await drawer.getByText('Before try 2').waitFor();
  equal(await violations(page), [], 'axe');
  await picture(page, 'peek');

  // By keys alone: j and k go on in the drawer, Esc closes it, the table stays.
  await page.goto(`${origin}/requests?to=${encodeURIComponent(new Date(Date.now() + 3_600_000).toISOString())}&live=off`);
  await rows.nth(2).waitFor();
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.waitForURL((url) => url.searchParams.has('request'));
  const first = query().get('request');
  await page.keyboard.press('j');
  await page.waitForURL((url) => (url.searchParams.get('request') ?? first) !== first);
  assert(await grid.isVisible(), 'the table is gone');
  await page.keyboard.press('k');
  await says('request', first);
  await page.keyboard.press('Escape');
  await page.waitForURL((url) => !url.searchParams.has('request'));
  equal(await drawer.count(), 0, 'the drawer stayed');

  // On paper: what happened, and nothing to press.
  await page.goto(`${origin}/requests/${twice.id}`);
  await page.getByText('Before try 2').waitFor();
  await page.emulateMedia({ media: 'print' });
  assert(await timeline.isVisible(), 'no timeline on paper');
  equal(await page.getByRole('navigation').count(), 0, 'navigation on paper');
  equal(await page.getByRole('button', { name: 'Print' }).count(), 0, 'a button on paper');
  await page.emulateMedia({ media: 'screen' });
  await page.setViewportSize({ width: 320, height: 640 });
  equal(await sideways(page), 0, 'the page scrolls sideways');
});
