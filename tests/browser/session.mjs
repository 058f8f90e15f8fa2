// Logging in and out, in the person's language; a session that ends under an open page; too many wrong logins.
import { admin, app, assert, equal, logIn, open, origin, password, picture, play, violations } from './stage.mjs';

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

  // It ends under an open page, in the middle of something: the page, its address and what is written there stay.
  await page.goto(`${origin}/keys?q=browser&state=ready`);
  await page.getByRole('button', { name: 'Add keys' }).click();
  const half = page.getByRole('dialog').getByLabel('Keys', { exact: true });
  await half.fill('AIza-half-written-000001');
  const { url, headers } = { url: `${origin}/api/logout`, headers: { cookie: `${cookie.name}=${cookie.value}`, 'x-requested-with': 'gemini-pool' } };
  equal((await fetch(url, { method: 'POST', headers })).status, 204, 'the session is ended beside the page');
  const again = page.getByRole('dialog', { name: 'Your session has ended' });
  await app('something to show').catch(() => {});
  await admin('PATCH', '/keys/1', { note: 'something to show' });
  await again.waitFor();
  equal(await violations(page, { within: 'dialog[open]' }), [], 'axe, the session has ended');
  await picture(page, 'expired');
  await page.keyboard.press('Escape');
  assert(await again.isVisible(), 'the dialog was left without a login');
  await again.locator('input[autocomplete="current-password"]').fill(password);
  await again.getByRole('button', { name: 'Log in' }).click();
  await again.waitFor({ state: 'detached' });
  equal(new URL(page.url()).pathname + new URL(page.url()).search, '/keys?q=browser&state=ready', 'the address');
  equal(await half.inputValue(), 'AIza-half-written-000001', 'what was half written');
  await page.getByRole('status').getByText('Live').waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Add 1 key' }).click();
  await page.getByText('1 added').waitFor();

  // Ended here by hand: the login page in its place, and the way back.
  await page.goto(`${origin}/requests?status=200`);
  await page.getByRole('button', { name: 'Logged in as admin' }).click();
  await page.getByRole('menuitem', { name: 'Log out' }).click();
  await page.getByText('After that: /requests?status=200').waitFor();
  equal(await page.context().cookies(), [], 'a cookie after logging out');
  await page.locator('input[autocomplete="current-password"]').fill(password);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'Requests' }).waitFor();
  equal(new URL(page.url()).search, '?status=200', 'the way back');

  // The browser's language and theme are the first; what is chosen stays.
  const lin = await open(browser, { locale: 'zh-TW', scheme: 'dark' });
  await lin.goto(`${origin}/`);
  await lin.getByRole('heading', { level: 1, name: '登入' }).waitFor();
  const look = () => lin.evaluate(() => [document.documentElement.lang, getComputedStyle(document.documentElement).colorScheme]);
  equal(await look(), ['zh-TW', 'dark'], 'as the browser wants it');
  await lin.getByRole('button', { name: '語言' }).click();
  await lin.getByRole('menuitemradio', { name: 'English' }).click();
  await lin.getByRole('button', { name: 'Theme' }).click();
  await lin.getByRole('menuitemradio', { name: 'Light' }).click();
  await lin.reload();
  await lin.getByRole('heading', { level: 1, name: 'Log in' }).waitFor();
  equal(await look(), ['en', 'light'], 'as it was chosen');
  await logIn(lin);
  await lin.getByRole('heading', { level: 1, name: 'Status' }).waitFor();
  equal(await look(), ['en', 'light'], 'after the login');
  const other = await open(browser, { locale: 'de-DE' });
  await other.goto(`${origin}/`);
  await other.getByRole('heading', { level: 1, name: 'Log in' }).waitFor();

  // Whoever guesses waits, and is told how long; after that the right password is as good as ever.
  const submit = other.getByRole('button', { name: 'Log in', exact: true });
  const wait = other.getByRole('alert').filter({ hasText: /^Too many wrong logins\. The next one counts in \d/ });
  for (let tries = 0; !(await wait.isVisible()); tries += 1) {
    assert(tries < 30, 'nobody who guesses waits');
    await other.locator('input[autocomplete="current-password"]').fill(`guess ${tries}`);
    const [answer] = await Promise.all([other.waitForResponse(`${origin}/api/login`), submit.click()]);
    if (answer.status() === 429) await wait.waitFor();
  }
  assert(await submit.isDisabled(), 'it can be tried before its time');
  await other.locator('input[autocomplete="current-password"]').fill(password);
  // The wait counts down by itself.
  await wait.waitFor({ state: 'detached', timeout: 60_000 });
  await submit.click();
  await other.getByRole('heading', { level: 1, name: 'Status' }).waitFor();
});
