// Two operators change one key at once: none overwrites what the other did without knowing.
import { admin, assert, equal, logIn, open, play } from './stage.mjs';

const key = () => admin('GET', '/keys/1/summary');

await play(async (browser) => {
  const [anna, ben] = [await open(browser), await open(browser)];
  for (const page of [anna, ben]) {
    await logIn(page, '/keys/1');
    await page.getByRole('button', { name: 'Edit' }).click();
    await page.getByRole('dialog').getByLabel('Note').waitFor();
  }
  const dialog = (page) => page.getByRole('dialog');
  const save = (page) => dialog(page).getByRole('button', { name: 'Save' }).click();

  // Other fields: both changes are wanted, and both stay.
  await dialog(anna).getByLabel('Note').fill('Anna was here');
  await save(anna);
  await anna.getByText('Saved').waitFor();
  await dialog(ben).getByLabel('Tags').fill('ben');
  await save(ben);
  const conflict = dialog(ben).getByRole('region', { name: 'Somebody changed it meanwhile' }).first();
  await conflict.getByText('Anna was here').waitFor();
  equal((await key()).tags, [], 'tags before Ben decides');
  await conflict.getByRole('button', { name: 'Apply mine to it' }).click();
  await ben.getByText('Saved').waitFor();
  let now = await key();
  equal([now.note, now.tags], ['Anna was here', ['ben']], 'both changes');

  // The same field: Ben sees what he would overwrite, and takes what is there.
  for (const page of [anna, ben]) {
    await page.getByRole('button', { name: 'Edit' }).click();
    await dialog(page).getByLabel('Note').waitFor();
    // What the form begins with is the newest, told by the feed.
    for (; (await dialog(page).getByLabel('Tags').inputValue()) !== 'ben'; ) {
      await dialog(page).getByRole('button', { name: 'Cancel' }).click();
      await page.getByRole('button', { name: 'Edit' }).click();
    }
  }
  await dialog(anna).getByLabel('Label').fill('Anna’s');
  await save(anna);
  await anna.getByRole('heading', { level: 1, name: 'Anna’s' }).waitFor();
  await dialog(ben).getByLabel('Label').fill('Ben’s');
  await save(ben);
  await conflict.getByText('They changed what you changed too').waitFor();
  await conflict.getByText('Anna’s').waitFor();
  await conflict.getByRole('button', { name: 'Reload and forget mine' }).click();
  equal(await dialog(ben).getByLabel('Label').inputValue(), 'Anna’s', 'what Ben sees after reloading');
  await dialog(ben).getByLabel('Label').fill('Ben’s');
  await save(ben);
  await ben.getByRole('heading', { level: 1, name: 'Ben’s' }).waitFor();
  // Anna's open page hears of it.
  await anna.getByRole('heading', { level: 1, name: 'Ben’s' }).waitFor();
  now = await key();
  equal(now.label, 'Ben’s', 'the label');

  // Ben takes his change back.
  await ben.getByRole('button', { name: 'Undo' }).last().click();
  await anna.getByRole('heading', { level: 1, name: 'Anna’s' }).waitFor();
  assert((await key()).label === 'Anna’s', 'the undo did not reach the server');
});
