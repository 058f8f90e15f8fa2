// One journey without a mouse: in, to a page, search, walk, open, choose, change, take back, the palette, help, out.
import { admin, app, assert, equal, open, origin, password, play } from './stage.mjs';

await play(async (browser) => {
  equal(await app('something to look at'), 200);
  const page = await open(browser);
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const says = (wanted) => page.waitForURL((url) => url.pathname + url.search === wanted);
  const heading = (name) => page.getByRole('heading', { level: 1, name, exact: true }).waitFor();
  const focused = (locator) => locator.evaluate((node) => node === document.activeElement);
  /** Goes on by Tab until something has the focus, which has to be seen there. */
  async function tabTo(locator, key = 'Tab', most = 60) {
    for (let steps = 0; !(await focused(locator)); steps += 1) {
      assert(steps < most, `not reached by ${key}: ${locator}`);
      await press(key);
    }
    const outline = await locator.evaluate((node) => getComputedStyle(node).outlineStyle);
    assert(outline !== 'none', `the focus is not seen on ${locator}`);
  }
  const states = async () => (await admin('GET', '/keys')).keys.map(({ id, state }) => [id, state]).sort(([a], [b]) => a - b);

  // The password is where one begins.
  await page.goto(`${origin}/`);
  await page.locator('input:focus[autocomplete="current-password"]').waitFor();
  await page.keyboard.type(password);
  await press('Enter');
  await heading('Status');
  await says('/status');

  // The first Tab of a page leads past everything to its content.
  await page.reload();
  await heading('Status');
  await press('Tab');
  assert(await focused(page.getByRole('link', { name: 'Skip to the content' })), 'no skip link at first');
  await press('Enter');
  await page.locator('main:focus').waitFor();

  // To the keys, and to one of them by its name.
  await press('g', 'k');
  await heading('Keys');
  const grid = page.getByRole('grid', { name: 'Keys' });
  const row = (id) => grid.getByRole('row').filter({ has: page.getByRole('link', { name: `key ${id}`, exact: true }) });
  await row(3).waitFor();
  assert(await focused(page.locator('main h1')), 'a new page does not begin at its heading');
  await press('/');
  // Letter by letter, and it is asked for between them: whoever types is left where they are.
  for (const letter of '0002') {
    await press(letter);
    await page.waitForURL((url) => url.searchParams.get('q')?.endsWith(letter));
    assert(await focused(page.getByRole('searchbox', { name: 'Search keys' })), 'typing lost the focus');
  }
  await page.getByTestId('count').getByText('1 of 3').waitFor();
  await says('/keys?q=0002');
  // Enter goes on to what was found.
  await press('Enter');
  assert(await focused(grid), 'Enter in the search does not lead to the rows');
  await press('j', 'Enter');
  await says('/keys?q=0002&peek=2');
  await page.getByRole('complementary').getByRole('heading', { name: 'key 2' }).waitFor();
  await press('Escape');
  await says('/keys?q=0002');
  await press('/');
  await press('Backspace');
  await says('/keys');
  await row(3).waitFor();

  // Straight from the heading: down, up, open, and the next one beside the open drawer.
  await press('Enter', 'g', 's');
  await heading('Status');
  await press('g', 'k');
  await heading('Keys');
  await row(3).waitFor();
  await press('j', 'j', 'k', 'Enter');
  await says('/keys?peek=1');
  await press('j');
  await says('/keys?peek=2');
  await press('Escape');
  await says('/keys');

  // Two are chosen, disabled, and that is taken back.
  await press('x', 'j', 'Space');
  const bar = page.getByRole('toolbar');
  await bar.getByText('2 selected').waitFor();
  equal(await row(3).getAttribute('aria-selected'), 'true', 'the row that keys are on');
  await tabTo(bar.getByRole('button', { name: 'Disable' }), 'Shift+Tab');
  await press('Enter');
  await page.getByText('2 disabled', { exact: true }).waitFor();
  assert(await focused(bar.getByRole('button', { name: 'Disable' })), 'what was pressed lost the focus');
  equal(await states(), [[1, 'ready'], [2, 'disabled'], [3, 'disabled']]);
  await press('Control+z');
  await page.getByText('As it was before').waitFor();
  equal(await states(), [[1, 'ready'], [2, 'ready'], [3, 'ready']], 'taken back');

  // A dialog begins with what there is to fill in, and gives the focus back.
  const tags = bar.getByRole('button', { name: 'Tags …' });
  await tabTo(tags);
  await press('Enter');
  await page.locator('dialog[open] input:focus').waitFor();
  await press('Escape');
  await page.locator('dialog[open]').waitFor({ state: 'detached' });
  assert(await focused(tags), 'a dialog kept the focus');

  // The palette goes anywhere.
  await press('Control+k');
  await page.locator('dialog[open]').waitFor();
  await page.keyboard.type('request');
  await press('Enter');
  await heading('Requests');
  await page.getByRole('row').nth(1).waitFor();
  await press('j', 'Enter');
  await page.waitForURL((url) => url.searchParams.has('request'));
  await page.getByTestId('timeline').waitFor();
  await press('Escape');
  await says('/requests');
  await press('Control+k');
  await page.locator('dialog[open]').waitFor();
  await press('Escape');
  await page.locator('dialog[open]').waitFor({ state: 'detached' });
  await says('/requests');

  // What keys there are is told by one.
  await press('?');
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
  await press('Escape');
  await page.locator('dialog[open]').waitFor({ state: 'detached' });

  // And out again, by the palette.
  await press('Control+k');
  await page.locator('dialog[open]').waitFor();
  await page.keyboard.type('log out');
  await press('Enter');
  await heading('Log in');
  equal(await page.context().cookies(), [], 'a cookie after logging out');
});
