import type { CDPSession, Locator, Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';
import { editable, selection, text, typeAt } from '../fixtures/collab';

/** Does what an input method does, step by step, in Chromium. */
async function compose(keyboard: CDPSession, ...steps: string[]): Promise<void> {
  for (const step of steps) {
    await keyboard.send('Input.imeSetComposition', { text: step, selectionStart: step.length, selectionEnd: step.length });
  }
}

/** Dispatches a key press that the input method has processed, in Chromium. */
async function processedKey(keyboard: CDPSession, key: string): Promise<void> {
  await keyboard.send('Input.dispatchKeyEvent', { type: 'rawKeyDown', key, code: key, windowsVirtualKeyCode: 229 });
  await keyboard.send('Input.dispatchKeyEvent', { type: 'keyUp', key, code: key, windowsVirtualKeyCode: 229 });
}

type Key = { key: string; altKey?: boolean; ctrlKey?: boolean };

/**
 * Dispatches a key press that ends a composition, in the order of Safari: the composition ends before the key press. Returns
 * whether the page left the key to the input method.
 */
async function confirmAsSafari(field: Locator, word: string, key: Key): Promise<boolean> {
  return field.evaluate(
    (field: HTMLTextAreaElement | HTMLInputElement, { word, key }) => {
      field.focus();
      const tell = (event: Event) => field.dispatchEvent(event);
      tell(new CompositionEvent('compositionstart', { bubbles: true }));
      field.setRangeText(word, field.selectionStart!, field.selectionEnd!, 'end');
      tell(new InputEvent('input', { bubbles: true, inputType: 'insertFromComposition', data: word }));
      tell(new CompositionEvent('compositionend', { bubbles: true, data: word }));
      return tell(new KeyboardEvent('keydown', { bubbles: true, cancelable: true, keyCode: 229, isComposing: false, ...key }));
    },
    { word, key },
  );
}

/** Searches until the message is in the index. */
async function find(page: Page, words: string): Promise<Locator> {
  const search = page.getByTestId('search');
  await expect(async () => {
    await search.fill(words);
    await search.press('Enter');
    await expect(page.getByTestId('result')).toHaveCount(1, { timeout: 1_000 });
  }).toPass();
  return search;
}

async function chat(page: Page): Promise<Locator> {
  await page.goto('/chat');
  await connected(page);
  return page.getByTestId('composer');
}

test('Enter that confirms a word sends nothing where the composition ends before the key press', async ({ page }) => {
  const composer = await chat(page);
  expect(await confirmAsSafari(composer, '你好', { key: 'Enter' })).toBe(true);
  await expect(composer).toHaveValue('你好');
  await confirmAsSafari(composer, '，世界', { key: 'Enter' });
  await expect(composer).toHaveValue('你好，世界');
  await composer.press('Enter');
  // The message is complete, and it is the first one sent.
  await expect(texts(page)).toHaveText(['你好，世界']);
  await expect(composer).toHaveValue('');
});

test('Enter that confirms a word sends nothing in Chromium', async ({ page, context }) => {
  const composer = await chat(page);
  await composer.focus();
  const keyboard = await context.newCDPSession(page);
  await compose(keyboard, 'n', 'ni', 'ni hao');
  await processedKey(keyboard, 'Enter');
  await expect(composer).toHaveValue('ni hao');
  await keyboard.send('Input.insertText', { text: '你好' });
  await expect(composer).toHaveValue('你好');
  await composer.press('Enter');
  await expect(texts(page)).toHaveText(['你好']);
});

test('Escape that cancels a word keeps the results of a search', async ({ page }) => {
  await chat(page);
  await say(page, 'Hello 世界');
  const search = await find(page, 'Hello');
  await search.fill('');
  await confirmAsSafari(search, '', { key: 'Escape' });
  await expect(page.getByTestId('result')).toHaveCount(1);
  await search.press('Escape');
  await expect(page.getByTestId('results')).toHaveCount(0);
});

test('a search result is shown also while the next words are being written', async ({ page }) => {
  await chat(page);
  await say(page, 'Hello 世界');
  const search = await find(page, 'Hello');
  let answer = () => {};
  const held = new Promise<void>((resolve) => (answer = resolve));
  await page.route('**/search?**', async (route) => {
    await held;
    await route.continue();
  });
  await search.press('Enter');
  await expect(page.getByTestId('results-count')).toHaveText('Searching…');
  await search.fill('Hello w');
  answer();
  await expect(page.getByTestId('result')).toHaveCount(1);
});

test('keys of an input method go to no other room', async ({ page }) => {
  const composer = await chat(page);
  const current = page.locator('[data-test=rooms] [aria-current=page]');
  const before = await current.textContent();
  expect(await confirmAsSafari(composer, '中', { key: 'ArrowDown', altKey: true })).toBe(true);
  await expect(current).toHaveText(before!);
  await composer.press('Alt+ArrowDown');
  await expect(current).not.toHaveText(before!);
});

test('a filter waits until the word is composed', async ({ page, context }) => {
  await page.goto('/ticker');
  await connected(page);
  const rows = page.locator('[data-test=price-row]');
  await expect(rows.first()).toBeVisible();
  const all = await rows.count();
  expect(all).toBeGreaterThan(1);
  const keyboard = await context.newCDPSession(page);
  await page.getByTestId('filter').focus();
  await compose(keyboard, 'z', 'zz');
  await expect(page.getByTestId('filter')).toHaveValue('zz');
  await expect(rows).toHaveCount(all);
  await keyboard.send('Input.insertText', { text: 'acme' });
  await expect(page.getByTestId('filter')).toHaveValue('acme');
  await expect(rows).toHaveCount(1);

  await page.getByTestId('picker-open').click();
  const options = page.getByTestId('picker-option');
  const every = await options.count();
  await page.getByTestId('picker-search').focus();
  await compose(keyboard, 'z', 'zz');
  await expect(options).toHaveCount(every);
  await keyboard.send('Input.insertText', { text: 'acme' });
  await expect(options).toHaveCount(1);
});

test('a character joined to the one before a caret is not separated from it', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  for (const page of [ada, grace]) await editable(page);
  await text(ada).fill('👨');
  await expect(text(grace)).toHaveValue('👨');
  await text(grace).focus();
  await text(grace).evaluate((field: HTMLTextAreaElement) => field.setSelectionRange(2, 2));
  await typeAt(ada, 2, '\u200d👩\u200d👧');
  await expect(text(grace)).toHaveValue('👨‍👩‍👧');
  await grace.keyboard.type('!');
  for (const page of [ada, grace]) await expect(text(page)).toHaveValue('👨‍👩‍👧!');
});

test('a caret stays at its position on return, and does not move behind the last letter of others', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  for (const page of [ada, grace]) await editable(page);
  await typeAt(ada, 0, 'middle');
  await expect(text(grace)).toHaveValue('middle');
  await text(grace).focus();
  expect(await selection(grace)).toEqual([0, 0]);
  await text(grace).evaluate((field: HTMLTextAreaElement) => field.setSelectionRange(3, 5, 'backward'));
  await text(grace).blur();
  await typeAt(ada, 0, 'the ');
  await typeAt(ada, 10, ' end');
  await expect(text(grace)).toHaveValue('the middle end');
  await text(grace).focus();
  expect(await selection(grace)).toEqual([7, 9]);
  // A click sets a new position.
  await text(grace).blur();
  await typeAt(ada, 0, '> ');
  await expect(text(grace)).toHaveValue('> the middle end');
  await text(grace).click({ position: { x: 300, y: 100 } });
  expect(await selection(grace)).toEqual([16, 16]);
});

test('undo of an input method is not the page’s', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  await editable(ada);
  await editable(grace);
  await typeAt(ada, 0, 'kept ');
  await expect(text(grace)).toHaveValue('kept ');
  expect(await confirmAsSafari(text(ada), '你', { key: 'z', ctrlKey: true })).toBe(true);
  await expect(text(grace)).toHaveValue('kept 你');
  await text(ada).press('Control+z');
  await expect(text(grace)).not.toHaveValue('kept 你');
});

const SAMPLES: [string, string, string, string][] = [
  ['Chinese', '前中文后', 'ni', '你好'],
  ['Arabic', 'مرحبا بالعالم', 'sh', 'شُكراً'],
  ['emoji', '😀👨‍👩‍👧é🇩🇪', ':)', '👩🏽‍🚀'],
];

for (const [what, content, steps, word] of SAMPLES) {
  test(`two people compose at one place of one text, and no character is split: ${what}`, async ({ visit }) => {
    const { page: ada, context: adas } = await visit('Ada', '/collab');
    const { page: grace, context: graces } = await visit('Grace', '/collab');
    for (const page of [ada, grace]) await editable(page);
    await text(ada).fill(content);
    await expect(text(grace)).toHaveValue(content);
    // One caret is before the last character, the other behind the first.
    const characters = [...new Intl.Segmenter().segment(content)].map((part) => part.segment);
    const first = characters[0].length;
    const last = content.length - characters[characters.length - 1].length;
    const people = [
      { page: ada, at: last, keyboard: await adas.newCDPSession(ada) },
      { page: grace, at: first, keyboard: await graces.newCDPSession(grace) },
    ];
    for (const { page, at } of people) {
      await text(page).focus();
      await text(page).evaluate((field: HTMLTextAreaElement, at) => field.setSelectionRange(at, at), at);
    }
    for (const { keyboard } of people) await compose(keyboard, steps[0], steps);
    for (const { keyboard } of people) await keyboard.send('Input.insertText', { text: word });
    const whole = content.slice(0, first) + word + content.slice(first, last) + word + content.slice(last);
    for (const { page } of people) await expect(text(page)).toHaveValue(whole);
    expect(await selection(ada)).toEqual([last + 2 * word.length, last + 2 * word.length]);
    expect(await selection(grace)).toEqual([first + word.length, first + word.length]);
    // The first character is deleted, under the caret of the other user.
    await text(ada).evaluate((field: HTMLTextAreaElement, first) => field.setSelectionRange(0, first), first);
    await ada.keyboard.press('Delete');
    for (const { page } of people) await expect(text(page)).toHaveValue(whole.slice(first));
    await grace.keyboard.type('!');
    for (const { page } of people) await expect(text(page)).toHaveValue(`${word}!${whole.slice(first + word.length)}`);
    // In the text of the server there is no replacement character.
    await ada.reload();
    await editable(ada);
    await expect(text(ada)).toHaveValue(`${word}!${whole.slice(first + word.length)}`);
  });
}
