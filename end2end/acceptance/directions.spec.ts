import type { Locator, Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';
import { caret, editable, saved, select, text, unitUnder } from '../fixtures/collab';

const CHINESE = '你好，世界。';
const ARABIC = 'مرحبا بالعالم.';
const EMOJI = '👩‍👧 🎉 ok 👍🏽.';

/** The layout of a text in an element: the boxes of its first and its last character, and of the element. */
async function lie(element: Locator): Promise<{ first: DOMRect; last: DOMRect; box: DOMRect }> {
  return element.evaluate((element) => {
    const node = document.createTreeWalker(element, NodeFilter.SHOW_TEXT).nextNode()!;
    const place = (start: number) => {
      const range = document.createRange();
      range.setStart(node, start);
      range.setEnd(node, start + 1);
      return range.getBoundingClientRect().toJSON();
    };
    return { first: place(0), last: place(node.textContent!.length - 1), box: element.getBoundingClientRect().toJSON() };
  });
}

/** Expects that the text begins at the right, and that its full stop is at the left. */
async function runsFromTheRight(element: Locator): Promise<void> {
  const { first, last, box } = await lie(element);
  expect(last.right).toBeLessThanOrEqual(first.left + 1);
  expect(box.right - first.right).toBeLessThan(4);
}

async function runsFromTheLeft(element: Locator): Promise<void> {
  const { first, last, box } = await lie(element);
  expect(last.left).toBeGreaterThanOrEqual(first.right - 1);
  expect(first.left - box.left).toBeLessThan(4);
}

test('messages are laid out in the direction of their first letter', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  await connected(ada);
  await connected(grace);
  for (const text of [CHINESE, ARABIC, EMOJI]) await say(ada, text);
  for (const page of [ada, grace]) {
    await expect(texts(page)).toHaveText([CHINESE, ARABIC, EMOJI]);
    await runsFromTheLeft(texts(page).nth(0));
    await runsFromTheRight(texts(page).nth(1));
    await runsFromTheLeft(texts(page).nth(2));
  }
  // Each paragraph has its own direction.
  await say(ada, `first\n${ARABIC}`);
  const both = await texts(grace).nth(3).evaluate((element) => {
    const node = element.firstChild!;
    const place = (at: number) => {
      const range = document.createRange();
      range.setStart(node, at);
      range.setEnd(node, at + 1);
      return range.getBoundingClientRect();
    };
    const box = element.getBoundingClientRect();
    return { left: place(0).left - box.left, right: box.right - place(6).right };
  });
  expect(both.left).toBeLessThan(4);
  expect(both.right).toBeLessThan(4);

  // The search results, and the text that is being written.
  await ada.getByTestId('search').fill('مرحبا');
  await expect(ada.getByTestId('search')).toHaveJSProperty('dir', 'auto');
  expect(await ada.getByTestId('search').evaluate((field) => field.matches(':dir(rtl)'))).toBe(true);
  await ada.getByTestId('find').click();
  await expect(ada.getByTestId('result')).toHaveCount(2);
  await runsFromTheRight(ada.getByTestId('result').last().locator('.result-text'));
  await expect(ada.getByTestId('composer')).toHaveCSS('unicode-bidi', 'plaintext');
});

for (const name of ['李雷', 'سارة!', '👩‍👧 Ada']) {
  test(`a name in any script is shown whole and in its place: ${name}`, async ({ visit }) => {
    const { page, user } = await visit(name, '/chat');
    const { page: grace } = await visit('Grace', '/chat');
    await connected(page);
    await connected(grace);
    expect(user.name).toBe(name);
    const rightToLeft = name.startsWith('س');
    const field = page.getByTestId('name');
    await expect(field).toHaveValue(name);
    expect(await field.evaluate((field) => field.matches(':dir(rtl)'))).toBe(rightToLeft);
    await page.getByTestId('composer').pressSequentially('Hi');
    await expect(grace.getByTestId('typing')).toHaveText(rightToLeft ? `\u2068${name}\u2069 is typing` : `${name} is typing`);
    await page.getByTestId('send').click();
    const said = grace.locator('.message-head strong');
    await expect(said).toHaveText(name);
    await expect(grace.getByTestId('member').filter({ hasText: name })).toHaveCount(1);
    // The punctuation of the name stays with it, and the text after the name stays behind it.
    const { first, last } = await lie(said);
    if (rightToLeft) expect(last.right).toBeLessThanOrEqual(first.left + 1);
    const clock = (await grace.locator('.message-head time').first().boundingBox())!;
    const box = (await said.boundingBox())!;
    expect(clock.x).toBeGreaterThanOrEqual(box.x + box.width);
  });
}

/** The left edge that the mirror measures for a user's caret. */
async function caretIsAt(page: Page, name: string, unit: number): Promise<void> {
  await expect(caret(page, name)).toBeVisible();
  await expect.poll(() => unitUnder(page, name)).toBe(unit);
}

for (const [what, line, units] of [
  ['Chinese', CHINESE, [0, 2, CHINESE.length]],
  ['Arabic', ARABIC, [0, 5, 9, ARABIC.length]],
  ['emoji', EMOJI, [0, 5, 9, EMOJI.length]],
  ['mixed', `abc ${ARABIC}`, [0, 3, 7, 11]],
] as const) {
  test(`a caret in a line of ${what} stands where the others' text areas have it`, async ({ visit }) => {
    const { page: ada } = await visit('Ada', '/collab');
    const { page: grace } = await visit('Grace', '/collab');
    await editable(ada);
    await editable(grace);
    await text(ada).fill(`first\n${line}\nlast`);
    await saved(ada);
    await expect(text(grace)).toHaveValue(`first\n${line}\nlast`);
    for (const unit of units) {
      await select(ada, 6 + unit);
      await caretIsAt(grace, 'Ada', 6 + unit);
    }
    // The selection covers the line: from edge to edge, whatever its direction.
    await select(ada, 6, 6 + line.length);
    const washes = grace.getByTestId('selection');
    await expect(washes.first()).toBeVisible();
    const caretBox = (await caret(grace, 'Ada').boundingBox())!;
    const boxes = await washes.evaluateAll((all) => all.map((one) => one.getBoundingClientRect().toJSON()));
    const [left, right] = [Math.min(...boxes.map((box) => box.left)), Math.max(...boxes.map((box) => box.right))];
    const field = (await text(grace).boundingBox())!;
    expect(right - left).toBeGreaterThan(20);
    // A line that begins with Arabic is at the right.
    expect(left > field.x + field.width / 2).toBe(what === 'Arabic');
    expect(caretBox.x + caretBox.width).toBeGreaterThanOrEqual(left - 3);
    expect(caretBox.x).toBeLessThanOrEqual(right + 3);
  });
}
