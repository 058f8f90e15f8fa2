// An operator tends the keys: adds some, tests them, changes many at once and takes it back, looks at a secret,
// deletes.
import { admin, assert, clientKey, equal, logIn, open, origin, password, play, sideways, violations } from './stage.mjs';

/** All keys by their numbers, as the API has them. */
const keys = async () => new Map((await admin('GET', '/keys?limit=1000')).keys.map((key) => [key.id, key]));
/** Waits until the API says so: what the page asked for may be on its way. */
async function until(said, what) {
  for (const end = Date.now() + 15_000; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    if (await said()) return;
    assert(Date.now() < end, `it did not come to this: ${what}`);
  }
}
const all = async (wanted) => [...(await keys()).values()].every(wanted);

await play(async (browser) => {
  const page = await open(browser);
  await logIn(page, '/keys');
  const grid = page.getByRole('grid', { name: 'Keys' });
  const bar = page.getByRole('toolbar');
  const undo = async () => {
    await page.getByRole('button', { name: 'Undo' }).click();
    await page.getByText('As it was before').first().waitFor();
    while (await page.getByRole('button', { name: 'Dismiss' }).count()) {
      await page.getByRole('button', { name: 'Dismiss' }).first().click();
    }
  };
  await grid.getByRole('row').nth(1).waitFor();
  const first = await keys();
  await admin('PATCH', '/keys/1', { tags: ['z', 'a'], project: 'alpha' });

  // Everything that can be taken back is, exactly.
  await grid.getByRole('checkbox', { name: 'Select all' }).check();
  await bar.getByText(`${first.size} selected`).waitFor();
  await grid.getByText('alpha').waitFor();
  const before = JSON.stringify([...(await keys()).values()].map(({ tags, project, declared }) => [tags, project, declared]));
  const asBefore = async () =>
    JSON.stringify([...(await keys()).values()].map(({ tags, project, declared }) => [tags, project, declared])) === before;

  await bar.getByRole('button', { name: 'Disable' }).click();
  await until(() => all((key) => key.state === 'disabled'), 'all disabled');
  await grid.getByText('Disabled').first().waitFor();
  await undo();
  await until(() => all((key) => key.state === 'ready'), 'all enabled again');

  await bar.getByRole('button', { name: 'Disable' }).click();
  await until(() => all((key) => key.state === 'disabled'), 'all disabled');
  await page.getByText(`${first.size} disabled`).first().waitFor();
  await bar.getByRole('button', { name: 'Enable' }).click();
  await until(() => all((key) => key.state === 'ready'), 'all enabled');
  await page.getByText(`${first.size} enabled`).first().waitFor();
  await page.getByRole('button', { name: 'Dismiss' }).first().click();
  await undo();
  await until(() => all((key) => key.state === 'disabled'), 'enabling undone');
  await bar.getByRole('button', { name: 'Enable' }).click();
  await until(() => all((key) => key.state === 'ready'), 'all enabled');
  await page.getByRole('button', { name: 'Dismiss' }).first().click();

  await bar.getByRole('button', { name: 'Tags' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Add tags').fill('a, new');
  await dialog.getByRole('button', { name: 'z', exact: false }).first().click();
  await dialog.getByRole('button', { name: 'Apply' }).click();
  await until(() => all((key) => JSON.stringify(key.tags) === '["a","new"]'), 'all tagged');
  await undo();
  await until(asBefore, 'tags as before, in their order');

  await bar.getByRole('button', { name: 'Tags' }).click();
  await dialog.getByLabel('Add tags').fill('a, new');
  await dialog.getByRole('button', { name: 'Apply' }).click();
  await until(() => all((key) => key.tags.includes('new')), 'all tagged again');
  await undo();
  await until(asBefore, 'only what was added is gone');

  await bar.getByRole('button', { name: 'Project' }).click();
  await dialog.getByLabel('Project').fill('beta');
  await dialog.getByRole('button', { name: 'Apply' }).click();
  await until(() => all((key) => key.project === 'beta'), 'all of beta');
  await undo();
  await until(asBefore, 'projects as before');

  // Opened gates cannot be closed again: a reset waits for whoever takes it back, and is done at once if told so.
  const resets = async () => (await admin('GET', '/keys/1/history?limit=50')).events.filter(({ type }) => type === 'KeyReset').length;
  await bar.getByRole('button', { name: 'Reset' }).click();
  await page.getByText(`${first.size} will be reset`).waitFor();
  await undo();
  await bar.getByRole('button', { name: 'Reset' }).click();
  await page.getByText(`${first.size} will be reset`).waitFor();
  equal(await resets(), 0, 'resets that were taken back or wait');
  await page.getByRole('button', { name: 'Dismiss' }).last().click();
  await page.getByText('reset; ').first().waitFor();
  await until(async () => (await resets()) === 1, 'the reset is done');
  assert((await page.getByRole('button', { name: 'Undo' }).count()) === 0, 'a reset offers an undo that it does not have');

  // A test goes on by itself; its progress has an address.
  await bar.getByRole('button', { name: 'Test' }).click();
  await dialog.getByRole('button', { name: 'Begin the test' }).click();
  const job = page.getByRole('region', { name: 'Test' });
  await job.getByText('The test is done').first().waitFor();
  await job.getByText(`${first.size} passed`).waitFor();
  assert(new URL(page.url()).searchParams.get('job'), 'the test is not in the address');
  await page.reload();
  await job.getByText(`${first.size} passed`).waitFor();
  await job.getByRole('button', { name: 'Close' }).click();

  // Keys out of any text; two that Google does not know, one twice, one that is there.
  await page.getByRole('button', { name: 'Add keys' }).click();
  await dialog.getByLabel('Keys', { exact: true }).fill('AIzaSyNobodyKnowsThis-001\nAIzaSyNobodyKnowsThis-002; AIzaSyNobodyKnowsThis-001');
  await dialog.getByText('2 keys found').waitFor();
  await dialog.getByText('1 more than once').waitFor();
  await dialog.getByLabel('Tags').fill('strange');
  await dialog.getByRole('button', { name: 'Add 2 keys' }).click();
  await dialog.getByText('2 added').waitFor();
  await dialog.getByRole('button', { name: 'Test the new ones' }).click();
  await job.getByText('2 did not pass').waitFor();
  await job.getByRole('button', { name: 'Select those that did not pass' }).click();
  await bar.getByText('2 selected').waitFor();
  equal((await keys()).size, first.size + 2, 'keys after adding');

  // What cannot be undone is typed.
  await bar.getByRole('button', { name: 'Delete' }).click();
  const sure = dialog.getByRole('button', { name: 'Delete for ever' });
  assert(await sure.isDisabled(), 'keys can be deleted without a word');
  await dialog.getByRole('textbox').fill('delete 2');
  await sure.click();
  await page.getByText('2 deleted').waitFor();
  await until(async () => (await keys()).size === first.size, 'both are gone');
  await job.getByRole('button', { name: 'Close' }).click();
  // Gone from the table by what the feed says.
  await grid.getByText('strange').first().waitFor({ state: 'detached' });

  // Filters are in the address, and leave what they say.
  await page.getByRole('searchbox', { name: 'Search keys' }).fill('alpha');
  await page.getByTestId('count').getByText(`1 of ${first.size}`).waitFor();
  equal(new URL(page.url()).search, '?q=alpha', 'the address');
  equal(await violations(page), [], 'axe on the keys');

  // A secret is shown for the password, masked, and that is recorded.
  await grid.getByRole('link', { name: first.get(1).label, exact: true }).click();
  await page.getByRole('heading', { level: 1, name: first.get(1).label }).waitFor();
  await page.getByRole('button', { name: 'Show secret' }).click();
  await dialog.getByLabel('Your password').fill('not the password');
  await dialog.getByRole('button', { name: 'Show', exact: true }).click();
  await dialog.getByRole('alert').waitFor();
  await dialog.getByLabel('Your password').fill(password);
  await dialog.getByRole('button', { name: 'Show', exact: true }).click();
  const secret = page.getByTestId('secret');
  await secret.waitFor();
  assert((await secret.innerText()).startsWith('•'), 'the secret is not masked at first');
  await dialog.getByRole('button', { name: 'Show it unmasked' }).click();
  assert((await secret.innerText()).endsWith(first.get(1).tail), 'another secret');
  await dialog.getByRole('timer').waitFor();
  await dialog.getByRole('button', { name: 'Hide now' }).click();
  await secret.waitFor({ state: 'detached' });
  const { events } = await admin('GET', '/keys/1/history?limit=5');
  assert(events.some(({ type }) => type === 'KeyRevealed'), 'the look at the secret is not in the log');

  // One key: tested, disabled and back, its history.
  await page.getByRole('button', { name: 'Test now' }).click();
  await page.getByText('Google served with this key').waitFor();
  await page.getByRole('button', { name: 'Disable' }).click();
  await page.getByRole('button', { name: 'Enable' }).waitFor();
  await undo();
  await page.getByRole('button', { name: 'Disable' }).waitFor();
  await page.getByText('Key’s secret shown').waitFor().catch(async () => {
    await page.getByRole('button', { name: / new$/ }).click();
    await page.getByText('Key’s secret shown').first().waitFor();
  });
  equal(await violations(page), [], 'axe on a key');
  await page.setViewportSize({ width: 320, height: 700 });
  equal(await sideways(page), 0, 'a key at 320 px');
  await page.goto(`${origin}/keys`);
  await grid.waitFor();
  equal(await sideways(page), 0, 'the keys at 320 px');

  // The last keys of projects that have something at Google: what would be lost is named, and has to be wanted.
  await page.setViewportSize({ width: 1280, height: 800 });
  const made = await fetch(`${origin}/v1beta/cachedContents`, {
    method: 'POST',
    headers: { 'x-goog-api-key': clientKey, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'models/gemini-2.5-flash', contents: [{ role: 'user', parts: [{ text: 'kept' }] }] }),
  });
  equal(made.status, 200, 'a cache at Google');
  const { name } = await made.json();
  await grid.getByRole('checkbox', { name: 'Select all' }).check();
  await bar.getByRole('button', { name: 'Delete' }).click();
  await dialog.getByRole('textbox').fill(`delete ${first.size}`);
  await sure.click();
  await dialog.getByText('could not be reached any more without').first().waitFor();
  await dialog.getByText(name).first().waitFor();
  assert(await sure.isDisabled(), 'what would be lost is deleted without being asked for');
  equal((await keys()).size, first.size, 'keys after a refusal: all stay, or none');
  equal(await violations(page), [], 'axe on what would be lost');
  await dialog.getByRole('checkbox').check();
  await sure.click();
  await page.getByText(`${first.size} deleted`).waitFor();
  await until(async () => (await keys()).size === 0, 'all are gone');
});
