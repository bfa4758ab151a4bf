import type { CDPSession, Page } from '@playwright/test';
import { BACK_WITHIN_MS, BROKEN_CONNECTION, connected, expect, guideLives, pageLink, status, test } from '../fixtures/app';
import { caret, editable, saved, select, selection, text, typeAt } from '../fixtures/collab';

test('three people write one text, and each keeps their caret', async ({ visit }) => {
  const pages: Page[] = [];
  for (const name of ['Ada', 'Grace', 'Joan']) pages.push((await visit(name, '/collab')).page);
  const [ada, grace, joan] = pages;
  for (const page of pages) await editable(page);

  await typeAt(ada, 0, 'One.\n');
  await expect(text(grace)).toHaveValue('One.\n');
  await typeAt(grace, 5, 'Two.\n');
  await expect(text(joan)).toHaveValue('One.\nTwo.\n');
  await typeAt(joan, 10, 'Three: 中文 😀');
  for (const page of pages) await expect(text(page)).toHaveValue('One.\nTwo.\nThree: 中文 😀');

  // Other users write before the caret: it stays beside its letter.
  await select(joan, 17);
  await typeAt(ada, 0, '😀 ');
  await expect(text(joan)).toHaveValue('😀 One.\nTwo.\nThree: 中文 😀');
  expect(await selection(joan)).toEqual([20, 20]);
  await joan.keyboard.type('!');
  await expect(text(ada)).toHaveValue('😀 One.\nTwo.\nThree: !中文 😀');
  await expect(ada.getByTestId('words')).toHaveText('5 words');
  for (const page of pages) await saved(page);
});

test('all at once', async ({ visit }) => {
  const pages: Page[] = [];
  for (const name of ['Ada', 'Grace', 'Joan']) pages.push((await visit(name, '/collab/busy')).page);
  for (const page of pages) await editable(page);
  await Promise.all(
    pages.map(async (page, index) => {
      await text(page).focus();
      await page.keyboard.type(`[${'abc'[index].repeat(30)}]`);
    }),
  );
  for (const page of pages) await saved(page);
  // An update that one page has saved may still be on its way to another.
  await expect(text(pages[0])).toHaveValue(/^.{96}$/);
  const all = await text(pages[0]).inputValue();
  // Carets keep their position: the text of each user stays in one piece, whatever the others type meanwhile.
  for (const letter of 'abc') expect(all).toContain(`[${letter.repeat(30)}]`);
  for (const page of pages) await expect(text(page)).toHaveValue(all);
});

test('undo and redo are one’s own', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  await editable(ada);
  await editable(grace);
  await expect(ada.getByTestId('undo')).toBeDisabled();
  await typeAt(ada, 0, 'mine ');
  await expect(text(grace)).toHaveValue('mine ');
  await typeAt(grace, 5, 'theirs');
  await expect(text(ada)).toHaveValue('mine theirs');

  await text(ada).press('Control+z');
  await expect(text(ada)).toHaveValue('theirs');
  await expect(text(grace)).toHaveValue('theirs');
  await expect(ada.getByTestId('undo')).toBeDisabled();
  await text(ada).press('Control+z');
  await expect(text(ada)).toHaveValue('theirs');
  await text(ada).press('Control+Shift+z');
  await expect(text(grace)).toHaveValue('mine theirs');
  expect(await selection(ada)).toEqual([5, 5]);
  // The buttons do the same.
  await ada.getByTestId('undo').click();
  await expect(text(grace)).toHaveValue('theirs');
  await ada.getByTestId('redo').click();
  await expect(text(grace)).toHaveValue('mine theirs');
  await grace.getByTestId('undo').click();
  await expect(text(ada)).toHaveValue('mine ');
  await saved(ada);
});

test('a deletion is saved too', async ({ page }) => {
  await page.goto('/collab');
  await editable(page);
  await typeAt(page, 0, 'Hello');
  await saved(page);
  await page.keyboard.press('Control+a');
  await page.keyboard.press('Delete');
  await expect(page.getByTestId('words')).toHaveText('0 words');
  await saved(page);
  await page.reload();
  await editable(page);
  await expect(text(page)).toHaveValue('');
});

test.describe('on a broken wire', () => {
  test.use({ tolerated: BROKEN_CONNECTION, flags: { 'client-ping-ms': 1_000 } });

  /** The browser reports the cut, or the watchdog finds it: a ping after 1 s, and 5 s for its pong. */
  const NOTICED_WITHIN_MS = 10_000;

  test('text written offline is merged on reconnect', async ({ visit, wire }) => {
    const { page: ada, context } = await visit('Ada', `${wire.url}/collab`);
    const { page: grace } = await visit('Grace', '/collab');
    await editable(ada);
    await editable(grace);
    await typeAt(ada, 0, 'The end.');
    await expect(text(grace)).toHaveValue('The end.');
    await saved(ada);

    await context.setOffline(true);
    wire.cut();
    await expect(ada.getByTestId('saved')).toHaveAttribute('data-state', 'offline', { timeout: NOTICED_WITHIN_MS });
    await expect(ada.getByTestId('saved-announced')).toHaveText(/^Offline\./);
    await typeAt(ada, 8, ' Ada');
    await expect(ada.getByTestId('saved')).toHaveText('Offline: kept here, 4 unsent');
    await typeAt(grace, 0, 'Grace: ');
    await expect(text(grace)).toHaveValue('Grace: The end.');

    await context.setOffline(false);
    await connected(ada);
    for (const page of [ada, grace]) await expect(text(page)).toHaveValue('Grace: The end. Ada');
    await saved(ada);
    await expect(ada.getByTestId('saved-announced')).toHaveText('Back online. All is saved.');
    // The caret was behind the word that Ada had written.
    await ada.keyboard.type('!');
    await expect(text(grace)).toHaveValue('Grace: The end. Ada!');
  });

  test('three users see all pointers and carets, one merges her offline text, and undo is one’s own', async ({ visit, wire }) => {
    const { page: ada, context } = await visit('Ada', `${wire.url}/collab`);
    const { page: grace } = await visit('Grace', '/collab');
    const { page: linus } = await visit('Linus', '/collab');
    const all = [ada, grace, linus];
    for (const page of all) await editable(page);
    await ada.getByTestId('board').hover({ position: { x: 20, y: 10 } });
    for (const page of [grace, linus]) await expect(page.locator('[data-test=pointer][data-name=Ada]')).toBeVisible();
    await typeAt(ada, 0, 'One. ');
    for (const page of [grace, linus]) {
      await expect(text(page)).toHaveValue('One. ');
      await expect(caret(page, 'Ada')).toBeVisible();
    }
    await saved(ada);

    await context.setOffline(true);
    wire.cut();
    await expect(ada.getByTestId('saved')).toHaveAttribute('data-state', 'offline', { timeout: NOTICED_WITHIN_MS });
    await typeAt(ada, 5, 'Two. ');
    // In one piece: one press of undo takes back what was typed without a pause, and a busy machine makes pauses.
    await select(grace, 0);
    await grace.keyboard.insertText('Zero. ');
    await expect(text(linus)).toHaveValue('Zero. One. ');
    await context.setOffline(false);
    await connected(ada);
    for (const page of all) await expect(text(page)).toHaveValue('Zero. One. Two. ');

    await text(grace).press('Control+z');
    for (const page of all) await expect(text(page)).toHaveValue('One. Two. ');
    await linus.reload();
    await editable(linus);
    await expect(text(linus)).toHaveValue('One. Two. ');
  });

  test('unsent text is kept when the page is left offline and opened again', async ({ visit, wire }) => {
    // The guide was opened before; a page that never was is another case (lazy-pages.spec.ts).
    const { page: ada, context } = await visit('Ada', `${wire.url}/`);
    await guideLives(ada);
    await pageLink(ada, 'Collab').click();
    await editable(ada);
    await context.setOffline(true);
    wire.cut();
    await expect(ada.getByTestId('saved')).toHaveAttribute('data-state', 'offline', { timeout: NOTICED_WITHIN_MS });
    await typeAt(ada, 0, 'Not sent.');
    // The router changes the page at once, without a new document.
    await ada.locator('header').getByRole('link', { name: 'Wirewise' }).click();
    await expect(text(ada)).toHaveCount(0);
    await context.setOffline(false);
    await ada.goBack();
    await editable(ada);
    await expect(text(ada)).toHaveValue('Not sent.');
    await saved(ada);
  });

  test('a reload keeps everything, including text written offline', async ({ visit, server, wire }) => {
    const { page: ada } = await visit('Ada', `${wire.url}/collab/kept`);
    await editable(ada);
    await typeAt(ada, 0, 'Sent. ');
    await saved(ada);
    // The server is stopped; the page stays open.
    await server.stop();
    await expect(status(ada)).not.toHaveAttribute('data-state', 'open');
    await typeAt(ada, 6, 'Not sent.');
    await expect(ada.getByTestId('saved')).toHaveText('Offline: kept here, 9 unsent');
    // The page is closed before it could send: its next attempt meets a connection that carries nothing.
    wire.swallow();
    await server.start();
    await expect(ada.getByTestId('saved')).toHaveText('Offline: kept here, 9 unsent');
    wire.cut();
    wire.pass();
    await ada.reload();
    await editable(ada);
    await expect(text(ada)).toHaveValue('Sent. Not sent.');
    await saved(ada);
    const { page: grace } = await visit('Grace', '/collab/kept');
    await editable(grace);
    await expect(text(grace)).toHaveValue('Sent. Not sent.');
    // Nothing is stored in the tab any more, so nothing is applied twice.
    await expect.poll(() => ada.evaluate(() => Object.keys(sessionStorage).filter((key) => key.includes('unsaved')))).toEqual([]);
  });
});

test('a restart of the server loses nothing', async ({ page, server }) => {
  await page.goto('/collab/restarted');
  await editable(page);
  await typeAt(page, 0, 'Before.');
  await saved(page);
  await server.restart();
  await connected(page, BACK_WITHIN_MS);
  await typeAt(page, 7, ' After.');
  await saved(page);
  await page.reload();
  await editable(page);
  await expect(text(page)).toHaveValue('Before. After.');
});

test.describe('with an input method', () => {
  /** Does what an input method does, step by step. */
  async function compose(keyboard: CDPSession, ...steps: string[]): Promise<void> {
    for (const step of steps) {
      await keyboard.send('Input.imeSetComposition', { text: step, selectionStart: step.length, selectionEnd: step.length });
    }
  }

  test('a Chinese composition is not disturbed while another user types', async ({ visit }) => {
    const { page: ada, context } = await visit('Ada', '/collab');
    const { page: grace } = await visit('Grace', '/collab');
    await editable(ada);
    await editable(grace);
    await typeAt(ada, 0, '前 后');
    await expect(text(grace)).toHaveValue('前 后');

    await select(ada, 2);
    const keyboard = await context.newCDPSession(ada);
    await compose(keyboard, 'n', 'ni', 'ni h');
    await expect(text(ada)).toHaveValue('前 ni h后');
    // Another user writes before and behind the composition: it is not split, and they see nothing of it yet.
    await typeAt(grace, 0, '> ');
    await typeAt(grace, 5, ' <');
    await expect(text(grace)).toHaveValue('> 前 后 <');
    await compose(keyboard, 'ni ha', 'ni hao');
    await expect(text(ada)).toHaveValue('前 ni hao后');
    await expect(text(grace)).toHaveValue('> 前 后 <');
    // The word is chosen: `insertCompositionText`, then the end of the composition.
    await keyboard.send('Input.insertText', { text: '你好' });
    for (const page of [ada, grace]) await expect(text(page)).toHaveValue('> 前 你好后 <');
    expect(await selection(ada)).toEqual([6, 6]);
    await saved(ada);
    // One word, one step.
    await text(ada).press('Control+z');
    await expect(text(grace)).not.toHaveValue(/你好/);
    await expect(text(grace)).toHaveValue(/^> .* <$/);
  });

  test('a cancelled composition leaves nothing behind', async ({ visit }) => {
    const { page: ada, context } = await visit('Ada', '/collab');
    const { page: grace } = await visit('Grace', '/collab');
    await editable(ada);
    await editable(grace);
    await text(ada).focus();
    const keyboard = await context.newCDPSession(ada);
    await compose(keyboard, 'n', 'ni');
    await typeAt(grace, 0, 'Grace');
    await expect(text(ada)).toHaveValue('ni');
    await compose(keyboard, '');
    for (const page of [ada, grace]) await expect(text(page)).toHaveValue('Grace');
  });
});

test('a reader reads along and cannot write', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: reader } = await visit('Reader', '/collab?readonly=1');
  await editable(ada);
  await connected(reader);
  await typeAt(ada, 0, 'Read this.');
  await expect(text(reader)).toHaveValue('Read this.');
  await expect(text(reader)).not.toBeEditable();
  await expect(reader.getByTestId('saved')).toHaveText('Read-only');
  await expect(reader.getByTestId('undo')).toHaveCount(0);
  await text(reader).focus();
  await reader.keyboard.type('no');
  await expect(text(reader)).toHaveValue('Read this.');
  // Pointers are shown to readers too.
  await expect(ada.getByTestId('here')).toHaveText('2 here');
});

test('a long paste arrives, and one that is too long is refused without damage', async ({ visit }) => {
  test.slow();
  const { page: ada, context } = await visit('Ada', '/collab/long');
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const { page: grace } = await visit('Grace', '/collab/long');
  await editable(ada);
  await editable(grace);
  const paste = async (what: string) => {
    await ada.evaluate((what) => navigator.clipboard.writeText(what), what);
    await text(ada).press('Control+v');
  };
  await paste('Zeile 中文 😀\n'.repeat(30_000));
  await expect.poll(async () => (await text(grace).inputValue()).length, { timeout: 20_000 }).toBe(12 * 30_000);
  await saved(ada);
  await paste('x'.repeat(4_000_000));
  await expect(ada.getByTestId('text-refusal')).toHaveText(/not put in/);
  expect((await text(ada).inputValue()).length).toBe(12 * 30_000);
  await saved(ada);
});

test('without JavaScript the text can be read', async ({ browser, baseURL, visit }) => {
  const { page: ada } = await visit('Ada', '/collab/plain');
  await editable(ada);
  await typeAt(ada, 0, '\n<b>Not markup</b> & 中文 😀');
  await saved(ada);
  const plain = await browser.newContext({ baseURL, javaScriptEnabled: false });
  const page = await plain.newPage();
  await page.goto('/collab/plain');
  await expect(text(page)).toHaveValue('\n<b>Not markup</b> & 中文 😀');
  await expect(text(page)).not.toBeEditable();
  await expect(page.locator('noscript .notice')).toBeVisible();
  await plain.close();
});

test('the link is copied', async ({ page, context, baseURL }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.goto('/collab/shared-notes');
  await connected(page);
  await page.getByTestId('share').click();
  await expect(page.getByTestId('share')).toHaveText('Link copied');
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(`${baseURL}/collab/shared-notes`);
});

test('if the clipboard is not available the link is shown', async ({ page, baseURL }) => {
  await page.addInitScript(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
  await page.goto('/collab/shared-notes');
  await connected(page);
  await page.getByTestId('share').click();
  await expect(page.getByTestId('link')).toHaveValue(`${baseURL}/collab/shared-notes`);
});
