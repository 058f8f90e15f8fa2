// A page that is open all day: how soon it can be used, and that its memory does not grow while the pool is busy.
//
// Long (GEMINI_POOL_TEST_LONG): ten minutes at 60 events a second. Otherwise less than one, which finds what grows fast.
import { admin, app, assert, equal, logIn, long, open, origin, play } from './stage.mjs';

const RATE = 60;
const [WARM, WHOLE] = long ? [30_000, 630_000] : [15_000, 45_000];
const GROWTH = 1.2;
/** Requests under way at once, at most. */
const MOST = 24;

const head = async () => (await admin('GET', '/events?order=desc&limit=1')).head;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1];

/** What the page's scripts keep once the garbage is gone, in bytes. */
async function heap(page) {
  const debug = await page.context().newCDPSession(page);
  await debug.send('HeapProfiler.enable');
  for (let turn = 0; turn < 3; turn += 1) await debug.send('HeapProfiler.collectGarbage');
  const { usedSize } = await debug.send('Runtime.getHeapUsage');
  await debug.detach();
  return usedSize;
}

/** Keeps the pool busy until it is told to stop. */
function traffic() {
  let [open, done] = [0, false];
  // What a request is worth in events is seen as it goes.
  const run = (async () => {
    const [began, first] = [Date.now(), await head()];
    let [sent, events, looked] = [0, 0, 0];
    while (!done) {
      if (Date.now() - looked > 1_000) {
        looked = Date.now();
        events = (await head()) - first;
      }
      const each = sent > 50 ? events / sent : 2;
      const due = ((Date.now() - began) / 1_000) * RATE;
      while (open < MOST && sent * each < due) {
        sent += 1;
        open += 1;
        void app(`busy ${sent}`, { model: `gemini-2.5-${sent % 3 ? 'flash' : 'pro'}` }).catch(() => {}).finally(() => (open -= 1));
      }
      await pause(20);
    }
    const rate = ((await head()) - first) / ((Date.now() - began) / 1_000);
    while (open > 0) await pause(20);
    return { rate, sent };
  })();
  return () => {
    done = true;
    return run;
  };
}

await play(async (browser) => {
  equal(await app('first'), 200);
  const pages = { '/status': await open(browser, { reduced: false }), '/requests': await open(browser, { reduced: false }) };
  for (const [path, page] of Object.entries(pages)) await logIn(page, path);

  // From the navigation to the numbers of the server, by the page's own clock.
  const status = pages['/status'];
  await status.addInitScript(() => {
    const look = () => {
      if (/\d/.test(document.querySelector('[data-testid=requests-total]')?.textContent ?? '')) globalThis.usable = performance.now();
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  const times = [];
  for (let turn = 0; turn < 5; turn += 1) {
    await status.goto(`${origin}/status`);
    await status.waitForFunction(() => globalThis.usable);
    times.push(Math.round(await status.evaluate(() => globalThis.usable)));
  }
  console.log(`the status page can be used after ${Math.min(...times)} ms at best, ${median(times)} ms usually`);
  assert(Math.min(...times) <= 1_000, `the status page takes ${times} ms`);

  const began = Date.now();
  const stop = traffic();
  await pause(WARM);
  const before = {};
  for (const [path, page] of Object.entries(pages)) before[path] = await heap(page);
  while (Date.now() - began < WHOLE) {
    await pause(Math.min(30_000, WHOLE - (Date.now() - began)));
    if (!long) continue;
    const now = await Promise.all(Object.values(pages).map(heap));
    console.log(`after ${Math.round((Date.now() - began) / 1_000)} s: ${now.map((size) => (size / 1e6).toFixed(2)).join(' and ')} MB`);
  }
  const grown = [];
  for (const [path, page] of Object.entries(pages)) {
    const after = await heap(page);
    console.log(`${path}: ${(before[path] / 1e6).toFixed(2)} MB after ${WARM / 1_000} s, ${(after / 1e6).toFixed(2)} MB at the end`);
    if (after > before[path] * GROWTH) grown.push(`${path} grew from ${before[path]} to ${after} bytes`);
  }
  const { rate, sent } = await stop();
  console.log(`${rate.toFixed(1)} events a second`);
  equal(grown, [], 'what the pages keep');
  // Still alive, and up to date to the last request.
  await status.getByTestId('requests-total').getByText(`${(sent + 1).toLocaleString('en')} requests`).waitFor();
  if (long) assert(rate > RATE * 0.8, `only ${rate} events a second`);
});
