// The log and the past: an event and what it says, the pool as it was before and after it, what changed, the audit.
import { admin, app, assert, equal, keyIs, logIn, open, picture, play, sideways, violations } from './stage.mjs';

await play(async (browser) => {
  equal(await app('before'), 200);
  await admin('POST', '/keys', { key: 'AIza-history-late', label: 'Latecomer' });
  const { events: [added] } = await admin('GET', '/events?type=KeyAdded&order=desc&limit=1');
  equal(await app('after'), 200);
  await keyIs('AIza-browser-0001', 'bad');
  const { keys: [bad] } = await admin('GET', '/keys?q=0001');
  await admin('POST', `/keys/${bad.id}/test`, {});
  const { events: [closed] } = await admin('GET', '/events?type=GateClosed&order=desc&limit=1');

  const page = await open(browser);
  await logIn(page, '/history');
  const events = page.getByTestId('events').locator('> li');
  const says = (name, value) => page.waitForURL((url) => url.searchParams.get(name) === value);
  await events.first().waitFor();

  // An event says all it has, by the keyboard alone.
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.getByTestId('events').locator('pre').filter({ hasText: '"type"' }).first().waitFor();

  // What is new waits until it is wanted.
  equal(await app('live'), 200);
  await page.getByRole('button', { name: /\d new/ }).click();
  await page.waitForFunction((seq) => Number(document.querySelector('[data-testid=events] li')?.dataset.seq) > seq, added.seq);

  // Filters are in the address.
  await page.getByRole('combobox', { name: 'Types' }).selectOption('KeyAdded');
  await says('type', 'KeyAdded');
  await page.reload();
  await events.filter({ hasText: 'Latecomer' }).first().waitFor();
  equal(await events.filter({ hasNotText: 'Key added' }).count(), 0, 'an event that does not fit');
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await says('type', null);

  // A click on the histogram goes there.
  const slider = page.getByRole('slider', { name: 'Moment' });
  const box = await slider.boundingBox();
  await slider.click({ position: { x: box.width / 2, y: 20 } });
  await page.waitForURL((url) => /^\d+$/.test(url.searchParams.get('at') ?? ''));
  await page.getByText('Read-only').waitFor();

  // Step by step over the moment when a key came.
  const then = page.getByTestId('then');
  const late = then.getByText('Latecomer');
  await page.getByRole('textbox', { name: 'Event or time' }).fill(String(added.seq - 1));
  await page.keyboard.press('Enter');
  await says('at', String(added.seq - 1));
  await page.getByRole('region', { name: `The pool as of event ${added.seq - 1}` }).waitFor();
  await then.getByRole('row').nth(1).waitFor();
  equal(await late.count(), 0, 'a key before it came');
  await slider.press('ArrowRight');
  await says('at', String(added.seq));
  await late.waitFor();
  equal(await then.getByRole('button').count(), 0, 'something to press in the past');
  await slider.press('ArrowLeft');
  await late.waitFor({ state: 'detached' });
  await page.locator('main h1').click();
  await page.keyboard.press('ArrowRight');
  await late.waitFor();

  // What the event changed, and the same by its link.
  await page.getByRole('link', { name: 'What this event changed' }).click();
  await says('from', String(added.seq - 1));
  const id = String(added.event.id ?? added.event.key);
  const line = page.getByRole('region', { name: /^From event/ }).getByRole('listitem').filter({ hasText: 'Added' }).filter({ hasText: 'Key' }).first();
  await line.waitFor();
  await page.reload();
  await line.waitFor();
  await late.waitFor();
  assert(new URL(page.url()).searchParams.get('at') === String(added.seq), 'the link lost its moment');
  assert((await line.innerText()).includes(id), `no key ${id} in ${await line.innerText()}`);
  equal(await violations(page), [], 'axe, the past');
  await picture(page, 'past');

  // What closed is said in words, with the event that says so.
  await page.goto(`${new URL(page.url()).origin}/history?from=${closed.seq - 1}&at=${closed.seq}`);
  const gone = page.getByRole('region', { name: /^From event/ }).getByRole('listitem').filter({ hasText: 'Bad key' });
  await gone.getByText('Ready → Failed').waitFor();
  equal(await gone.getByRole('link', { name: /^Event/ }).getAttribute('href'), `/history?at=${closed.seq}`);
  assert(!(await gone.innerText()).includes('{'), `not in words: ${await gone.innerText()}`);

  // What is no moment is refused where it was written; a time of the day will do, and so will one without a zone.
  const where = page.getByRole('textbox', { name: 'Event or time' });
  await where.fill('yesterday');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').getByText('such as 18204, 14:30').waitFor();
  await says('at', String(closed.seq));
  equal(await where.inputValue(), 'yesterday');
  await where.fill('00:00');
  await page.keyboard.press('Enter');
  await page.waitForURL((url) => /^\d{4}-.*Z$/.test(url.searchParams.get('at') ?? ''));
  equal(await page.getByRole('alert').getByText('18204').count(), 0, 'a complaint about a time');
  await page.goto(`${new URL(page.url()).origin}/history?at=yesterday`);
  await page.getByRole('alert').getByText('such as 18204, 14:30').waitFor();
  equal(await page.getByText('Read-only').count(), 0, 'a past that nobody could read');

  // A time will do as well.
  await page.goto(`${new URL(page.url()).origin}/history?at=${encodeURIComponent(added.at)}`);
  await page.getByText('Read-only').waitFor();
  await then.getByRole('row').nth(1).waitFor();
  await page.getByRole('link', { name: 'Back to now' }).click();
  await says('at', null);

  // The log is as it was written.
  await page.getByRole('button', { name: 'Verify now' }).click();
  await page.getByText('Intact', { exact: true }).waitFor();
  equal(await violations(page), [], 'axe');
  await page.setViewportSize({ width: 320, height: 640 });
  equal(await sideways(page), 0, 'the page scrolls sideways');
});
