// The status page: numbers that live, keys that need attention, and a server that goes and comes back.
import { app, admin, assert, equal, keyIs, killServer, logIn, open, origin, play, sideways, startServer, violations } from './stage.mjs';

const BAD = 'AIza-browser-0001';
const inView = (locator) =>
  locator.last().evaluate((node) => node.getBoundingClientRect().bottom <= innerHeight && node.getBoundingClientRect().top >= 0);
const seqs = (page) => page.getByTestId('ticker').locator('li').evaluateAll((rows) => rows.map((row) => Number(row.dataset.seq)));

await play(async (browser) => {
  const page = await open(browser, { height: 720 });
  await logIn(page, '/status?range=15m');
  const total = page.getByTestId('requests-total');
  await total.getByText('0 requests').waitFor();
  await page.getByTestId('pool-ready').getByText('6').waitFor();

  // What an operator needs is there without scrolling.
  for (const name of ['Keys of the pool', 'Headroom per model', 'What needs attention', 'Last transitions', 'Live events']) {
    assert(await inView(page.locator('section').filter({ has: page.getByRole('heading', { name }) })), `${name} is below the fold`);
  }
  for (const name of ['Requests per minute', 'Time to first byte']) {
    assert(await inView(page.getByRole('figure', { name })), `${name} is below the fold`);
  }

  // A request shows within a second.
  equal(await app('hello'), 200);
  await total.getByText('1 requests').waitFor({ timeout: 1_500 });
  await page.getByTestId('ticker').getByText('gemini-2.5-flash').first().waitFor();
  await page.getByTestId('error-share').getByText('0%').waitFor();

  // A key goes bad: its cause is said, its event and itself are links.
  await keyIs(BAD, 'bad');
  const { keys } = await admin('GET', '/keys?q=0001');
  await admin('POST', `/keys/${keys[0].id}/test`, {});
  const attention = page.getByTestId('attention');
  await attention.getByText('Bad key').waitFor();
  await attention.getByText('next check in').waitFor();
  equal(await attention.getByRole('link', { name: keys[0].label }).getAttribute('href'), `/keys/${keys[0].id}`);
  const event = await attention.getByRole('link', { name: /^since/ }).getAttribute('href');
  assert(/^\/history\?at=\d+$/.test(event), `the event behind it: ${event}`);
  await page.getByTestId('transitions').getByText('Bad key').waitFor();
  await page.getByTestId('pool-failed').getByText('1').waitFor();
  equal(await page.getByTestId('pool-failed').getAttribute('href'), '/keys?state=failed');

  // Nothing moves under the pointer: what comes waits.
  await page.getByTestId('ticker').locator('li').first().hover();
  const before = await seqs(page);
  equal(await app('more'), 200);
  await page.getByText('1 new').waitFor();
  equal(await seqs(page), before, 'rows moved under the pointer');
  await page.mouse.move(400, 20);
  await page.waitForFunction((seq) => Number(document.querySelector('[data-testid=ticker] li').dataset.seq) > seq, before[0]);

  // The server is killed and comes back: said, resumed, nothing lost and nothing twice.
  await killServer();
  await page.getByRole('status').getByText('Connection lost').waitFor();
  await startServer();
  for (let n = 0; n < 5; n += 1) equal(await app(`again ${n}`), 200);
  await total.getByText('7 requests').waitFor();
  const { events } = await admin('GET', '/events?order=desc&limit=40');
  const wanted = events.filter(({ type, event }) => type !== 'Attempted' || event.verdict !== 'success').map(({ seq }) => seq);
  await page.waitForFunction((seq) => document.querySelector(`[data-testid=ticker] [data-seq="${seq}"]`), wanted[0]);
  const shown = await seqs(page);
  equal(shown.filter((seq) => seq >= wanted.at(-1)), wanted.filter((seq) => seq >= shown.at(-1)), 'the ticker has a gap or a repetition');
  equal(new Set(shown).size, shown.length, 'an event stands twice');

  // What is drawn follows what comes: another request, another curve.
  const plot = page.getByRole('img', { name: /^Requests per minute/ });
  await plot.locator('canvas').waitFor();
  const drawn = () => plot.locator('canvas').evaluate((canvas) => canvas.toDataURL());
  const redrawn = (was) =>
    page.waitForFunction((was) => document.querySelector('.uplot canvas')?.toDataURL() !== was, was, { timeout: 40_000 });
  const live = await drawn();
  for (let n = 0; n < 5; n += 1) equal(await app(`and again ${n}`), 200);
  await redrawn(live);

  /** Drags over half of the plot, and gives the span that this was on the axis that is drawn. */
  const drag = async () => {
    const before = page.url();
    const { x, y, width } = await plot.locator('.u-over').boundingBox();
    await page.mouse.move(x + width * 0.3, y + 20);
    await page.mouse.down();
    await page.mouse.move(x + width * 0.5, y + 20, { steps: 4 });
    await page.mouse.move(x + width * 0.8, y + 20, { steps: 4 });
    await page.mouse.up();
    await page.waitForURL((url) => url.href !== before && url.searchParams.has('to'));
    const { searchParams } = new URL(page.url());
    return ['from', 'to'].map((name) => Number(searchParams.get(name)));
  };
  // Drag to zoom: in the address, and drawn, so that another drag goes on from there; the whole range by a button.
  const whole = await drawn();
  const [from, to] = await drag();
  await page.getByTestId('zoom').waitFor();
  assert(to - from > 6 * 60_000 && to - from < 9 * 60_000, `half of 15 minutes, not ${to - from} ms`);
  await redrawn(whole);
  const half = await drawn();
  const [later, sooner] = await drag();
  assert(from < later && sooner < to && sooner - later < (to - from) * 0.6, `the plot still shows what it did: ${sooner - later} ms`);
  await redrawn(half);
  const zoomed = await drawn();
  await page.getByRole('button', { name: 'Whole range' }).click();
  await page.waitForURL((url) => !url.search.includes('from='));
  await redrawn(zoomed);
  // Another range is another axis.
  const minutes = await drawn();
  await page.getByRole('button', { name: '24 h' }).click();
  await page.getByRole('button', { name: '24 h', pressed: true }).waitFor();
  await redrawn(minutes);
  const [began, ended] = await drag();
  assert(ended - began > 10 * 3_600_000, `half of a day, not ${ended - began} ms`);
  await page.getByRole('button', { name: '15 min' }).click();
  await page.getByRole('button', { name: '15 min', pressed: true }).waitFor();

  // The same by the keyboard, and the numbers as a table.
  await page.getByRole('button', { name: 'Zoom in' }).press('Enter');
  await page.getByTestId('zoom').waitFor();
  await page.getByRole('button', { name: 'Whole range' }).press('Enter');
  await page.getByRole('button', { name: 'Requests per minute: Show as table' }).press('Enter');
  const table = page.getByRole('table').first();
  await table.waitFor();
  equal(await table.locator('thead th').allInnerTexts(), ['Time', 'Requests', 'Errors']);
  assert((await table.locator('tbody tr').count()) >= 15, 'a row for each bucket');
  await page.getByRole('button', { name: '24 h' }).press('Enter');
  await page.waitForURL(/range=24h/);
  await page.goBack();
  await page.waitForURL(/range=15m/);

  equal(await violations(page), [], 'axe');
  await page.setViewportSize({ width: 320, height: 700 });
  equal(await sideways(page), 0, 'it scrolls sideways at 320 px');

  // A log that takes no writes is said on every page, and the status page has the cause.
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.route('**/api/status?*', async (route) => {
    const answer = await route.fetch();
    const status = await answer.json();
    status.server.log.failure = 'No space left on device';
    await route.fulfill({ response: answer, json: status });
  });
  await page.goto(`${origin}/keys`);
  const line = page.getByRole('link', { name: 'The log takes no writes' });
  await line.waitFor();
  equal(await violations(page), [], 'axe, the log takes no writes');
  await line.click();
  await page.getByRole('status').getByText('No space left on device').waitFor();
  await line.waitFor({ state: 'detached' });
});
