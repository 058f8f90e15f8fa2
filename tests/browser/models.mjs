// Which key can serve which model, and why not: the grid by keyboard, its filters, and a cell's story.
import { admin, app, assert, equal, logIn, open, origin, play, sideways, violations } from './stage.mjs';

const MODEL = 'gemini-2.5-flash';

await play(async (browser) => {
  const page = await open(browser);
  await logIn(page, '/models');
  await page.getByText('No model is known yet').waitFor();
  equal(await app('hello'), 200, 'a request');
  equal(await app('hello', { model: 'gemini-2.5-pro' }), 200, 'a request of another model');
  await page.reload();
  const grid = page.getByRole('grid', { name: 'Keys by models' });
  await grid.getByRole('row').nth(1).waitFor();
  equal(await grid.getByRole('columnheader').allInnerTexts(), ['Key', MODEL, 'gemini-2.5-pro'], 'columns');
  const { models } = await admin('GET', '/models?limit=1');
  await page.getByText(`${models[0].ready} of ${models[0].projects} projects can serve`).first().waitFor();

  // A change of a key is told by the feed.
  await admin('PATCH', '/keys/2', { models: ['gemini-2.5-pro'], label: 'only pro' });
  await grid.getByText('Not allowed').waitFor();
  await admin('POST', '/keys/bulk_disable', { ids: [3] });
  await grid.getByText('Disabled').first().waitFor();

  // Arrow keys walk; the cell they are on is told; Enter says why.
  await grid.focus();
  const on = () => page.evaluate(() => {
    const grid = document.querySelector('[role=grid]');
    const cell = document.getElementById(grid.getAttribute('aria-activedescendant'));
    return [Number(cell.parentElement.getAttribute('aria-rowindex')), Number(cell.getAttribute('aria-colindex'))];
  });
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowRight');
  equal(await on(), [3, 2], 'one down, one to the right');
  await page.keyboard.press('Enter');
  const panel = page.getByRole('complementary');
  await panel.getByText(`only pro × ${MODEL}`).waitFor();
  await panel.getByText('An operator said so').waitFor();
  equal(new URL(page.url()).searchParams.get('cell'), `2/${MODEL}`, 'the cell in the address');
  await page.keyboard.press('ArrowRight');
  await panel.getByText('Nothing is in the way').waitFor();
  await page.keyboard.press('End');
  equal(await on(), [3, 3], 'the end of the row');
  await page.keyboard.press('Control+Home');
  equal(await on(), [2, 1], 'the first cell');
  await page.keyboard.press('Escape');
  await panel.waitFor({ state: 'detached' });

  // Filters are in the address.
  await page.getByRole('searchbox', { name: 'Find keys' }).fill('only pro');
  await page.waitForURL((url) => url.searchParams.get('q') === 'only pro');
  await grid.getByRole('row').nth(2).waitFor({ state: 'detached' });
  equal(await grid.getByRole('rowheader').allInnerTexts(), ['only pro'], 'keys that are found');
  await page.getByRole('link', { name: 'Clear filters' }).click();
  await grid.getByRole('row').nth(2).waitFor();
  await page.getByRole('combobox', { name: 'Model' }).selectOption(MODEL);
  await page.waitForURL((url) => url.searchParams.get('model') === MODEL);
  await grid.getByRole('columnheader', { name: 'gemini-2.5-pro' }).waitFor({ state: 'detached' });

  await page.goto(`${origin}/models?cell=2/${MODEL}`);
  await panel.getByText(`only pro × ${MODEL}`).waitFor();
  equal(await violations(page), [], 'axe on the models');
  await page.setViewportSize({ width: 320, height: 700 });
  assert((await sideways(page)) === 0, 'the models at 320 px scroll sideways');
});
