// Settings: one is changed, undone, refused, fought over, taken back; language, theme, a backup.
import { statSync } from 'node:fs';
import { admin, app, assert, equal, logIn, open, picture, play, sideways, violations } from './stage.mjs';

await play(async (browser) => {
  const page = await open(browser);
  await logIn(page, '/settings');
  const row = (name) => page.locator(`[data-setting=${name}]`);
  const tries = row('MAX_ATTEMPTS');
  const field = tries.getByRole('textbox', { name: 'Tries per request' });
  const save = (one) => one.getByRole('button', { name: 'Save' }).click();
  const inForce = async (name) => (await admin('GET', '/settings')).settings.find((one) => one.name === name);
  const start = await inForce('MAX_ATTEMPTS');

  // In force at once, and back.
  await field.fill('5');
  await save(tries);
  await tries.getByText('Changed here').waitFor();
  equal((await inForce('MAX_ATTEMPTS')).value, '5');
  await page.getByRole('button', { name: 'Undo' }).click();
  await tries.getByText('Changed here').waitFor({ state: 'detached' });
  equal(await inForce('MAX_ATTEMPTS'), start, 'after the undo');

  // What it does not take is told beside it.
  await field.fill('99');
  await field.press('Enter');
  await tries.getByRole('alert').filter({ hasText: 'from 1 to 10' }).waitFor();
  await tries.getByRole('button', { name: 'Cancel' }).click();
  equal(await field.inputValue(), start.value);

  // Another operator was quicker: nobody's change is lost unseen.
  await field.fill('6');
  await admin('PATCH', '/settings', { MAX_ATTEMPTS: 7 });
  await save(tries);
  await tries.getByRole('alert').filter({ hasText: 'it is now 7' }).waitFor();
  equal((await inForce('MAX_ATTEMPTS')).value, '7', 'overwritten unseen');
  await save(tries);
  await tries.getByRole('button', { name: 'Save' }).waitFor({ state: 'detached' });
  equal((await inForce('MAX_ATTEMPTS')).value, '6');
  await tries.getByRole('button', { name: 'Back to the start’s value' }).click();
  await tries.getByText('Changed here').waitFor({ state: 'detached' });
  equal(await inForce('MAX_ATTEMPTS'), start, 'after it was taken back');
  // A change of another setting is none of ours.
  await field.fill('4');
  await admin('PATCH', '/settings', { QUEUE_TIMEOUT: 1 });
  await save(tries);
  await tries.getByText('Changed here').waitFor();

  // What people write is not kept by one click.
  const bodies = row('LOG_BODIES');
  await bodies.getByRole('combobox').selectOption('all');
  await save(bodies);
  await page.getByRole('dialog').getByRole('button', { name: 'Keep them' }).click();
  await page.getByRole('note').waitFor();
  equal((await inForce('LOG_BODIES')).value, 'all');
  equal(await app('kept'), 200);
  await admin('PATCH', '/settings', { LOG_BODIES: null, MAX_ATTEMPTS: null, QUEUE_TIMEOUT: null });
  await page.getByRole('note').waitFor({ state: 'detached' });

  // The whole log goes to the disk.
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('link', { name: 'Download a backup' }).click(),
  ]);
  assert(statSync(await download.path()).size > 1_000, 'an empty backup');
  assert(download.suggestedFilename().endsWith('.backup'), download.suggestedFilename());
  await page.getByText('Last made').waitFor();
  equal(await violations(page), [], 'axe');

  // Language and theme, kept over a reload.
  await page.getByRole('combobox', { name: 'Theme' }).selectOption('dark');
  await page.getByRole('combobox', { name: 'Language' }).selectOption('zh-TW');
  await page.reload();
  await page.getByRole('heading', { level: 1, name: '設定' }).waitFor();
  await row('MAX_ATTEMPTS').getByText('每個請求的嘗試次數').waitFor();
  equal(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dataset.theme]), ['zh-TW', 'dark']);
  await row('MAX_ATTEMPTS').getByRole('textbox').fill('99');
  await row('MAX_ATTEMPTS').getByRole('textbox').press('Enter');
  await row('MAX_ATTEMPTS').getByRole('alert').filter({ hasText: '應為：1 至 10 的整數' }).waitFor();
  equal(await violations(page), [], 'axe, dark and Chinese');
  await picture(page, 'settings-dark-zh');
  await page.setViewportSize({ width: 320, height: 640 });
  equal(await sideways(page), 0, 'the page scrolls sideways');
  await page.getByRole('combobox', { name: '語言' }).selectOption('en');
  await page.getByRole('heading', { level: 1, name: 'Settings' }).waitFor();
});
