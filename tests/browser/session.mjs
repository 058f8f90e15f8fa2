// Logging in and out, in the person's language; a session that ends under an open page.
import { assert, equal, logIn, open, origin, password, play } from './stage.mjs';

await play(async (browser) => {
  const page = await open(browser);
  await page.goto(`${origin}/status`);
  await page.locator('input[autocomplete="current-password"]').waitFor();

  await page.locator('input[autocomplete="username"]').fill('admin');
  await page.locator('input[autocomplete="current-password"]').fill('not the password');
  await page.locator('form button[type="submit"]').click();
  await page.getByRole('alert').first().waitFor();
  assert(!(await page.context().cookies()).length, 'a wrong password made a session');

  await logIn(page);
  equal(new URL(page.url()).pathname, '/status');
  const [cookie, ...more] = await page.context().cookies();
  equal([cookie.httpOnly, cookie.sameSite, more.length], [true, 'Strict', 0], 'the session cookie');
  const stored = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }));
  assert(!stored.includes(cookie.value) && !stored.includes(password), 'a secret lies in the browser\'s storage');
});
