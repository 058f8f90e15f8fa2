// The server is killed and comes back under open pages: each says so, goes on by itself, and shows every request and
// every event once.
import { admin, app, assert, equal, killServer, logIn, open, origin, play, startServer } from './stage.mjs';

/** The link's health in the frame. A page that was refused often waits for a while before it asks again. */
const link = (page, words) => page.locator('header').getByRole('status').getByText(words).waitFor({ timeout: 45_000 });

/** Requests in the table, newest first: each model is a request's name here. */
const models = (page) =>
  page.getByRole('grid').locator('[role=rowgroup] [role=row]').evaluateAll((rows) =>
    rows.map((row) => /outage-\d+/.exec(row.textContent)?.[0] ?? row.textContent));
const seqs = (page) => page.getByTestId('events').locator('> li').evaluateAll((rows) => rows.map((row) => Number(row.dataset.seq)));

await play(async (browser) => {
  let number = 0;
  const asked = [];
  async function ask(times) {
    for (let n = 0; n < times; n += 1) {
      const model = `outage-${(number += 1)}`;
      await app('hello', { model });
      asked.unshift(model);
    }
  }
  await ask(3);
  const requests = await open(browser);
  const history = await open(browser);
  const status = await open(browser);
  await logIn(requests, '/requests');
  await logIn(history, '/history');
  await logIn(status, '/status');
  const pages = [requests, history, status];
  const row = (model) => requests.getByRole('row').filter({ hasText: model }).first();
  await row(asked[0]).waitFor();
  await history.getByTestId('events').locator('> li').first().waitFor();
  for (const page of pages) await link(page, 'Live');
  const addresses = pages.map((page) => page.url());

  /** Lets what waits behind a pill in, until what is newest is there. */
  async function upTo(page, there) {
    for (const end = Date.now() + 30_000; !(await there()); ) {
      assert(Date.now() < end, `it did not come to ${page.url()}`);
      const pill = page.getByRole('button', { name: /\d new/ });
      if (await pill.isVisible()) await pill.click({ timeout: 1_000 }).catch(() => {});
      await page.evaluate(() => new Promise((drawn) => setTimeout(drawn, 100)));
    }
  }

  for (let turn = 1; turn <= 2; turn += 1) {
    await killServer();
    for (const page of pages) await link(page, 'Connection lost');
    // What was there stays to be read.
    equal((await models(requests)).length, asked.length, 'requests while the server is down');
    await startServer();
    // Before the pages are back, while they come back, and after it.
    await ask(2);
    for (const page of pages) await link(page, 'Live');
    await ask(2);

    await upTo(requests, async () => (await models(requests)).length >= asked.length);
    equal(await models(requests), asked, `requests after outage ${turn}`);

    const { events } = await admin('GET', '/events?order=desc&limit=200');
    const wanted = events.map(({ seq }) => seq);
    await upTo(history, async () => (await seqs(history))[0] >= wanted[0]);
    const shown = await seqs(history);
    equal(new Set(shown).size, shown.length, 'an event stands twice');
    const last = shown.at(-1);
    equal(shown.filter((seq) => seq <= wanted[0]), wanted.filter((seq) => seq >= last), `events after outage ${turn}`);

    await status.getByTestId('requests-total').getByText(`${asked.length} requests`).waitFor();
  }
  equal(pages.map((page) => page.url()), addresses, 'a page is somewhere else');
  assert((await requests.getByRole('dialog').count()) === 0, 'a restart ended a session');
  equal(new URL(requests.url()).origin, origin);
});
