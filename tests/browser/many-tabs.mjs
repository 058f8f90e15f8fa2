// Twelve tabs of one browser: HTTP/1.1 gives it six connections, so they have one feed. Each page loads and lives; when
// the tab that has the feed is closed, crashes or freezes another goes on; logins and logouts reach all.
import { admin, assert, equal, killServer, logIn, open, origin, password, play, startServer } from './stage.mjs';

const PAGES = ['/status', '/keys', '/keys/1', '/models', '/requests', '/history'];

/** Events in a tab of the history, newest first. */
const seqs = (page) => page.getByTestId('events').locator('> li').evaluateAll((rows) => rows.map((row) => Number(row.dataset.seq)));

/** Waits until something is so. */
async function until(there, what) {
  for (const end = Date.now() + 30_000; !(await there()); ) {
    assert(Date.now() < end, what);
    await new Promise((again) => setTimeout(again, 100));
  }
}

/** How many listen to the feed, by the server's count. */
async function readers() {
  const metrics = await (await fetch(`${origin}/metrics`)).text();
  return Number(/^gemini_pool_feed_readers (\d+)$/m.exec(metrics)?.[1]);
}
const oneReader = (when) => until(async () => (await readers()) === 1, `more or less than one feed ${when}`);

await play(async (browser) => {
  const first = await open(browser);
  await logIn(first, '/history');
  const tabs = [first];
  const more = async (path) => {
    const page = await open(browser, { beside: first });
    await page.goto(`${origin}${path}`);
    await page.locator('main h1').first().waitFor();
    tabs.push(page);
    return page;
  };
  for (let n = 1; n < 12; n += 1) await more(n < 6 ? PAGES[n] : '/history');
  const live = async (when) => {
    for (const [n, page] of tabs.entries()) {
      await page.locator('header').getByRole('status').getByText('Live', { exact: true }).waitFor({ timeout: 45_000 })
        .catch(() => assert(false, `tab ${n} (${page.url()}) is not live ${when}`));
    }
  };
  await live('at the beginning');
  await oneReader('at the beginning');

  const histories = () => tabs.filter((page) => page.url().endsWith('/history'));
  /** Every tab shows every event, each once. */
  const complete = async (when) => {
    const { events } = await admin('GET', '/events?order=desc&limit=60');
    const wanted = events.map(({ seq }) => seq);
    for (const page of histories()) {
      await until(async () => {
        const pill = page.getByRole('button', { name: /\d new/ });
        // A tab behind another one draws nothing, and a real click waits for that.
        if (await pill.isVisible()) await pill.dispatchEvent('click', {}, { timeout: 1_000 }).catch(() => {});
        return (await seqs(page))[0] >= wanted[0];
      }, `an event did not come to a tab ${when}`);
      const shown = (await seqs(page)).filter((seq) => seq <= wanted[0]);
      equal(shown.slice(0, wanted.length), wanted.slice(0, shown.length), `the events of a tab ${when}`);
    }
  };
  let change = 0;
  const write = async (times) => {
    for (let n = 0; n < times; n += 1) await admin('PATCH', '/keys/1', { label: `change ${(change += 1)}` });
  };
  /** A change comes to every kind of page. */
  const shown = async (when) => {
    const label = `change ${change}`;
    for (const page of tabs) {
      const { pathname } = new URL(page.url());
      if (!pathname.startsWith('/keys')) continue;
      await page.getByText(label, { exact: true }).first().waitFor().catch(() => assert(false, `${pathname} does not show ${label} ${when}`));
    }
    await complete(when);
  };
  await write(2);
  await shown('of twelve');

  // The leader is the eldest. It is closed while things happen.
  const close = async (page, how) => {
    tabs.splice(tabs.indexOf(page), 1);
    const during = write(5);
    await how(page);
    await during;
    await write(2);
    await shown('after its leader left');
    await live('after its leader left');
    await oneReader('after its leader left');
  };
  await close(first, (page) => page.close());
  // Whoever leads now crashes, and says nothing; the tab may be any: all but two are taken away.
  for (const page of histories().slice(2)) {
    tabs.splice(tabs.indexOf(page), 1);
    const session = await page.context().newCDPSession(page);
    session.send('Page.crash').catch(() => {});
    await page.waitForEvent('crash');
    await write(1);
  }
  await shown('after crashes');
  await live('after crashes');
  await oneReader('after crashes');

  // One that freezes hands on, and catches up.
  for (const page of [...tabs]) {
    const session = await page.context().newCDPSession(page);
    await session.send('Page.setWebLifecycleState', { state: 'frozen' });
    await write(3);
    await oneReader('while one is frozen');
    await session.send('Page.setWebLifecycleState', { state: 'active' });
    await session.detach();
  }
  await write(1);
  await shown('after each was frozen');
  await live('after each was frozen');
  await oneReader('after each was frozen');

  // The server goes and comes back: one tab asks for all.
  await killServer();
  for (const page of tabs) await page.locator('header').getByRole('status').getByText('Connection lost').waitFor({ timeout: 45_000 });
  await startServer();
  await live('after a restart');
  await oneReader('after a restart');
  await write(2);
  await shown('after a restart');

  // Out in one, out in all; in again in one, in again in all.
  const [tab, other] = histories();
  await tab.bringToFront();
  await tab.getByRole('button', { name: 'Logged in as admin' }).click();
  await tab.getByRole('menuitem', { name: 'Log out' }).click();
  for (const page of tabs) await page.locator('input[autocomplete="current-password"]').waitFor();
  await until(async () => (await readers()) === 0, 'a feed stays after the logout');
  await other.bringToFront();
  await other.locator('input[autocomplete="current-password"]').fill(password);
  await other.keyboard.press('Enter');
  await live('after the login');
  await oneReader('after the login');

  // It is ended by somebody else: each page stays as it is, and says so.
  const [cookie] = await tab.context().cookies();
  const headers = { cookie: `${cookie.name}=${cookie.value}`, 'x-requested-with': 'gemini-pool' };
  equal((await fetch(`${origin}/api/logout`, { method: 'POST', headers })).status, 204, 'the session is ended beside the pages');
  await write(1);
  const ended = (page) => page.getByRole('dialog', { name: 'Your session has ended' });
  for (const page of tabs) await ended(page).waitFor();
  await tab.bringToFront();
  await ended(tab).locator('input[autocomplete="current-password"]').fill(password);
  await ended(tab).getByRole('button', { name: 'Log in' }).click();
  for (const page of tabs) await ended(page).waitFor({ state: 'detached' });
  await live('after the session was renewed');
  await write(2);
  await shown('after the session was renewed');
  await oneReader('at the end');
});
