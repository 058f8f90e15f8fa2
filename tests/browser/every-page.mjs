// What holds for every page, and for what opens on it, in one language and both themes: nobody is shut out, nothing is
// wider than a telephone, nothing is left in the other language, and nobody else is asked for anything.
import { admin, app, assert, equal, keyIs, logIn, open, origin, overloaded, picture, sideways, violations } from './stage.mjs';

/** What stays as it is in Chinese: names of products, formats and headers, words of the settings, what Google calls
 *  things, and what this scenario made. */
const NAMES = `aiza\\S* gemini\\S* google api sse url id ip https? json csv curl python javascript openai langchain
  opentelemetry cli sdk ctrl shift esc enter space english admin p50 p95 socks5h? ok mib kib mb kb direct host forwarded
  x-forwarded-for metrics localhost least-loaded round-robin sticky continue refuse exit off errors all true false memory fjall
  data models?/\\S* (key|project)-\\d+ xx docs env delete`
  .trim()
  .split(/\s+/);

/** Words that the page says to people (not code, not what is written as code) in the wrong language. */
const foreign = (page, locale, within) =>
  page.evaluate(
    ({ locale, names, within }) => {
      const known = new RegExp(`^(${names.join('|')})$`, 'i');
      const texts = [document.title];
      const walker = document.createTreeWalker(document.querySelector(within), NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node instanceof Element ? node : node.parentElement;
        if (element.closest('script, style, code, pre, kbd, samp, .mono, [data-theirs]') || !element.checkVisibility()) continue;
        if (node === element) {
          for (const name of ['aria-label', 'title', 'placeholder', 'alt', 'aria-description']) texts.push(element.getAttribute(name) ?? '');
        } else texts.push(node.data);
      }
      const wrong = texts.flatMap((text) => {
        if (locale === 'en') return /[\u3000-\u9fff\uff00-\uffef]/.test(text.replace('繁體中文', '')) ? [text.trim()] : [];
        const words = (text.replace(/\bkey \d+|JSON Lines|[\x21-\x7e]*[/_.][\x21-\x7e]+/g, '').match(/[A-Za-z][\w’'-]*/g) ?? []).map((word) => word.replace(/[’'-]+$/, ''));
        const left = words.filter((word) => word.length > 1 && !known.test(word) && !/^[A-Z][A-Z0-9_]+$/.test(word) && !/^[0-9a-f]{4,}(-[0-9a-f-]+)?$/i.test(word));
        return left.length > 0 ? [`${left.join(' ')} in “${text.trim().slice(0, 80)}”`] : [];
      });
      return [...new Set(wrong)];
    },
    { locale, names: NAMES, within: within ?? 'body' },
  );

export const everyPage = (locale) => async (browser) => {
  const [en, zh] = [0, 1];
  const say = locale === 'en' ? en : zh;
  // Every sort of thing that a page may show: a request that failed over, a refused one, a bad key, marks of an operator.
  await overloaded(1);
  equal([await app('one'), await app('two')], [200, 200]);
  await app('nobody has it', { model: 'gemini-of-nobody' });
  await admin('PATCH', '/keys/2', { tags: ['7'], project: 'project-7', note: '2026' });
  await keyIs('AIza-browser-0003', 'bad');
  await admin('POST', '/keys/3/test', {});
  const { request_logs: requests } = await admin('GET', '/request_logs?limit=10');
  const request = requests.find(({ tries }) => tries > 1) ?? requests[0];
  const { events: [last] } = await admin('GET', '/events?order=desc&limit=1');

  const button = (name) => (page) => page.getByRole('button', { name: name[say], exact: true }).first().click();
  const first = (page) => page.getByRole('checkbox', { name: ['Select row', '選取此列'][say] }).first().click();
  const shown = (selector) => (page) => page.locator(selector).first().waitFor();
  /** On paper: what happened, and nothing to press. */
  async function paper(page) {
    await page.emulateMedia({ media: 'print' });
    assert(await page.getByTestId('timeline').isVisible(), 'no timeline on paper');
    const rest = await page.locator('nav, header, button').evaluateAll((all) => all.filter((one) => one.checkVisibility()).map((one) => one.outerHTML.slice(0, 80)));
    await page.emulateMedia({ media: 'screen' });
    equal(rest, [], 'to press on paper');
  }
  /** A page, what it is waited for on it, and what is opened on it (each is left by Esc or by going elsewhere). */
  const pages = {
    '/status': [shown('[data-testid=ticker] li'), {
      table: button(['Requests per minute: Show as table', '每分鐘請求數: 以表格顯示']),
      language: button(['Language', '語言']),
      theme: button(['Theme', '佈景主題']),
      account: button(['Logged in as admin', '登入身分：admin']),
      palette: (page) => page.keyboard.press('Control+k'),
      help: (page) => page.keyboard.press('?'),
    }],
    '/keys': [shown('[role=rowgroup] [role=row]'), {
      add: button(['Add keys', '新增金鑰']),
      selected: first,
      tags: button(['Tags …', '標籤…']),
      project: button(['Project …', '專案…']),
      test: button(['Test …', '測試…']),
      delete: button(['Delete …', '刪除…']),
    }],
    '/keys?peek=2': [shown('aside h2, [role=complementary] h2'), {}],
    '/keys?q=nothing': [shown('[role=grid]'), {}],
    '/keys/3': [shown('main section'), {
      edit: button(['Edit', '編輯']),
      reveal: button(['Show secret …', '顯示金鑰內容…']),
      delete: button(['Delete …', '刪除…']),
    }],
    '/models': [shown('[role=grid] [role=row], table tr'), {}],
    '/models?cell=3/gemini-2.5-flash': [shown('aside h2, [role=complementary] h2'), {}],
    '/requests': [shown('[role=rowgroup] [role=row]'), {
      columns: button(['Columns', '欄位']),
      views: button(['Views', '檢視']),
      export: button(['Export', '匯出']),
    }],
    [`/requests?request=${request.id}`]: [shown('[data-testid=timeline]'), {}],
    [`/requests/${request.id}`]: [shown('[data-testid=timeline]'), { paper }],
    '/history': [shown('[data-testid=events] li'), {}],
    [`/history?at=${last.seq}&from=1`]: [shown('[data-testid=then] [role=row], [data-testid=then] tr'), {}],
    '/clients': [shown('[role=rowgroup] [role=row]'), { create: button(['Create access key', '建立存取金鑰']) }],
    '/clients?client=1': [shown('aside h2, [role=complementary] h2'), { edit: button(['Edit', '編輯']) }],
    '/settings': [shown('[data-setting]'), {
      password: button(['Change password', '變更密碼']),
      master: button(['Change the master key', '更換主金鑰']),
    }],
    '/welcome': [shown('main h1'), {}],
    '/no/such/page': [shown('main h1'), {}],
  };

  /** These open nothing above the page. */
  const inPlace = new Set(['table', 'selected', 'paper']);

  const found = [];
  const titles = new Map();
  const timing = {};
  const page = await open(browser, { locale: ['en-US', 'zh-TW'][say] });

  const said = (where, what) => found.push(`${where}: ${what}`);
  const axe = async (where, within) => {
    for (const one of await violations(page, { within })) said(where, `light: ${one}`);
    // Only colours are others in the dark.
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    for (const one of await violations(page, { within, rules: ['color-contrast', 'link-in-text-block'] })) said(where, `dark: ${one}`);
    await page.emulateMedia({ colorScheme: 'light' });
    for (const words of await foreign(page, locale, within)) said(where, `not in ${locale}: ${words}`);
  };
  const narrow = () => page.setViewportSize({ width: 320, height: 640 });
  const usual = () => page.setViewportSize({ width: 1280, height: 800 });

  /** What sticks out furthest. */
  const widest = () =>
    page.evaluate(() => {
      const right = (one) => one.getBoundingClientRect().right;
      const [furthest] = [...document.querySelectorAll('main *')].sort((a, b) => right(b) - right(a));
      return furthest.outerHTML.slice(0, 120);
    });
  /** A page as it is: in both themes, and on a telephone. */
  async function look(where) {
    const headings = await page.locator('h1').count();
    if (headings !== 1) said(where, `${headings} headings of the first rank`);
    const lang = await page.evaluate(() => document.documentElement.lang);
    if (lang !== locale) said(where, `lang="${lang}"`);
    await axe(where);
    await narrow();
    // Plots are drawn anew for their width, a frame later.
    const fits = page.waitForFunction(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth, undefined, { timeout: 3_000 });
    await fits.catch(async () => said(where, `${await sideways(page)} px wider than 320: ${await widest()}`));
    await usual();
  }

  const opened = page.locator('dialog[open], [popover]:popover-open');
  /** What opens on a page: what is behind it was looked at. */
  async function lookInto(where, step) {
    await step(page);
    await opened.first().waitFor();
    await axe(where, 'dialog[open], [popover]:popover-open');
    const fits = () => opened.evaluateAll((all) => all.every((one) => one.scrollWidth <= one.clientWidth && one.getBoundingClientRect().right <= innerWidth));
    if (await page.locator('dialog[open]').count()) {
      await narrow();
      if (!(await fits())) said(where, 'wider than 320 px');
    }
    await page.keyboard.press('Escape');
    await opened.first().waitFor({ state: 'detached' });
    await usual();
  }

  const login = await page.goto(`${origin}/status`);
  await page.locator('form').waitFor();
  const policy = login.headers()['content-security-policy'] ?? '';
  assert(policy.includes("default-src 'self'") && !policy.includes('unsafe'), `the policy of the document: ${policy}`);
  await look('login');
  titles.set(await page.title(), 'login');
  await logIn(page);

  for (const [path, [ready, opens]] of Object.entries(pages)) {
    const began = Date.now();
    await page.goto(`${origin}${path}`);
    await page.locator('main h1').waitFor({ state: 'attached' });
    await ready(page).catch((error) => found.push(`${path}: ${error.message.split('\n').slice(0, 3).join(' ')}`));
    await look(path);
    const title = await page.title();
    const plain = path.split('?')[0];
    if ((titles.get(title) ?? plain) !== plain) found.push(`${path}: has the title of ${titles.get(title)}: ${title}`);
    titles.set(title, plain);
    for (const [name, step] of Object.entries(opens)) {
      try {
        if (inPlace.has(name)) {
          await step(page);
          await axe(`${path} ${name}`, 'main');
        } else await lookInto(`${path} ${name}`, step);
      } catch (error) {
        said(`${path} ${name}`, error.message.split('\n').slice(0, 3).join(' '));
      }
    }
    timing[path.split('?')[0]] = (timing[path.split('?')[0]] ?? 0) + Date.now() - began;
  }
  console.log(JSON.stringify(timing));
  assert(found.length === 0, found.join('\n'));
};
