// Access keys: made, shown once, used to their limits, edited by two, replaced, turned off and on again, revoked.
import { admin, app, assert, equal, logIn, open, origin, picture, play, sideways, violations } from './stage.mjs';

await play(async (browser) => {
  const page = await open(browser);
  await logIn(page, '/clients');
  const grid = page.getByRole('grid', { name: 'Access keys' });
  const dialog = page.locator('dialog[open]');
  const drawer = page.getByRole('complementary');
  const row = (name) => grid.getByRole('row').filter({ hasText: name });
  const secretOf = async () => {
    const field = dialog.getByRole('textbox', { name: 'Access key' });
    await field.waitFor();
    const secret = await field.inputValue();
    await dialog.getByRole('button', { name: 'I have copied it' }).click();
    await dialog.waitFor({ state: 'detached' });
    return secret;
  };

  // Made; its secret is shown once, and an app gets an answer with it.
  await page.getByRole('button', { name: 'Create access key' }).first().click();
  await dialog.getByRole('textbox', { name: 'Requests a day' }).fill('none');
  assert(await dialog.getByRole('button', { name: 'Create' }).isDisabled(), 'no number was taken for a limit');
  await dialog.getByRole('textbox', { name: 'Name' }).fill('reports');
  await dialog.getByRole('textbox', { name: 'Requests a day' }).fill('2');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await dialog.getByText('This is shown once').waitFor();
  equal(await violations(page), [], 'axe, the secret');
  const secret = await secretOf();
  assert(!(await page.content()).includes(secret), 'the secret is still on the page');
  const stored = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + location.href);
  assert(!stored.includes(secret), "the secret lies in the browser's storage or address");
  equal([await app('a', { key: secret }), await app('b', { key: secret })], [200, 200]);

  // Its limit is reached: the app is told, and so is the operator.
  equal(await app('c', { key: secret }), 429);
  await row('reports').getByText('limit reached').waitFor();
  await row('reports').getByText('2/2').waitFor();

  // Search is in the address.
  await page.getByRole('searchbox').fill('report');
  await page.waitForURL((url) => url.searchParams.get('q') === 'report');
  await page.reload();
  await row('reports').click();
  await page.waitForURL((url) => url.searchParams.has('client'));
  const id = Number(new URL(page.url()).searchParams.get('client'));
  await drawer.getByText('2 of 2').waitFor();
  await picture(page, 'peek');

  // Two edit it at once: who comes second sees what the first did, and loses nothing.
  await drawer.getByRole('button', { name: 'Edit' }).click();
  await dialog.getByRole('textbox', { name: 'Requests a day' }).fill('100');
  await admin('PUT', `/allowed_keys/${id}`, { note: 'of the other operator' });
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.getByRole('alert').waitFor();
  await dialog.getByText('of the other operator').waitFor();
  await dialog.getByRole('button', { name: 'Apply mine to it' }).click();
  await dialog.waitFor({ state: 'detached' });
  const both = await admin('GET', `/allowed_keys/${id}`);
  equal([both.requests_per_day, both.note], [100, 'of the other operator'], 'what both said');
  equal(await app('d', { key: secret }), 200);

  // Replaced: the old one opens nothing, the new one does.
  await drawer.getByRole('button', { name: 'Replace key' }).click();
  await dialog.getByRole('button', { name: 'Replace' }).click();
  const other = await secretOf();
  assert(other !== secret, 'the same secret');
  equal([await app('e', { key: secret }), await app('f', { key: other })], [401, 200]);

  // Turned off, and back by undo.
  await drawer.getByRole('button', { name: 'Disable' }).click();
  await page.getByText('reports disabled', { exact: true }).waitFor();
  assert((await app('g', { key: other })) >= 400, 'a disabled key opened the pool');
  await page.getByRole('button', { name: 'Undo' }).click();
  await page.getByText('reports enabled', { exact: true }).waitFor();
  equal(await app('h', { key: other }), 200);

  // Its requests are a link away.
  await drawer.getByRole('link', { name: 'Its requests' }).click();
  await page.waitForURL((url) => url.pathname === '/requests' && url.searchParams.get('client') === String(id));
  await page.goBack();

  // Revoked, once its name is typed.
  await drawer.getByRole('button', { name: 'Revoke' }).click();
  const revoke = dialog.getByRole('button', { name: 'Revoke' });
  assert(await revoke.isDisabled(), 'revoked without a word');
  await dialog.getByRole('textbox').fill('reports');
  await revoke.click();
  await page.getByText('reports revoked', { exact: true }).waitFor();
  equal(await app('i', { key: other }), 401);
  await page.goto(`${origin}/clients`);
  await row('env 1').click();
  equal(await row('reports').count(), 0, 'a revoked client is listed');

  // What the environment says is changed there, and the page says so.
  await drawer.getByText('ALLOWED_API_KEYS').first().waitFor();
  assert(await drawer.getByRole('button', { name: 'Replace key' }).isDisabled(), 'a key of the environment can be replaced');
  equal(await violations(page), [], 'axe');
  await page.setViewportSize({ width: 320, height: 640 });
  equal(await sideways(page), 0, 'the page scrolls sideways');
});
