import { connected, expect, test, type Visitor } from '../fixtures/app';
import { caret, editable, select, text, typeAt, unitUnder } from '../fixtures/collab';

const WRAPPED = `${'A long line that does not fit and is broken where there is room for no more. '.repeat(6)}\n`;
const LINES: [string, string, number][] = [
  ['at the beginning', 'abc', 0],
  ['at the end', 'abc', 3],
  ['in an empty last line', 'abc\n', 4],
  ['after tabs', '\tone\t\ttwo', 6],
  ['in Chinese', '中文字很宽', 3],
  ['after emoji', '😀👩‍👧😀 x', 9],
  ['in a long word', 'x'.repeat(400), 333],
  ['in a wrapped line', WRAPPED, 203],
  ['below a wrapped line', `${WRAPPED}below`, WRAPPED.length + 2],
];

for (const [where, content, unit] of LINES) {
  test(`a caret is drawn where it is: ${where}`, async ({ visit }) => {
    const { page: ada, user } = await visit('Ada', '/collab');
    const { page: grace } = await visit('Grace', '/collab');
    await editable(ada);
    await editable(grace);
    await text(ada).fill(content);
    await expect(text(grace)).toHaveValue(content);
    await select(ada, unit);
    await expect(caret(grace, 'Ada')).toHaveText('Ada');
    await expect.poll(() => unitUnder(grace, 'Ada')).toBe(unit);
    const color = await caret(grace, 'Ada').evaluate((caret) => getComputedStyle(caret).backgroundColor);
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(user.color.slice(at, at + 2), 16));
    expect(color).toBe(`rgb(${red}, ${green}, ${blue})`);
    // Another width gives other line breaks.
    await grace.setViewportSize({ width: 500, height: 700 });
    await expect.poll(() => unitUnder(grace, 'Ada')).toBe(unit);
  });
}

test('carets scroll with the text, and lines of other users do not move the visible text', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  await editable(ada);
  await editable(grace);
  const lines = Array.from({ length: 200 }, (_, number) => `Line ${number}\n`);
  await text(ada).fill(lines.join(''));
  await expect(text(grace)).toHaveValue(lines.join(''));
  const unit = lines.slice(0, 100).join('').length + 3;
  await select(ada, unit);
  await text(grace).evaluate((field) => (field.scrollTop = 90 * 25));
  await expect.poll(() => unitUnder(grace, 'Ada')).toBe(unit);
  // Grace's caret is in the middle now; another user writes far above it.
  const before = (await caret(grace, 'Ada').boundingBox())!;
  const third = 'A new first line\nand a second\n';
  await typeAt(ada, 0, third);
  await select(ada, unit + third.length);
  await expect(text(grace)).toHaveValue(third + lines.join(''));
  await expect
    .poll(async () => Math.abs((await caret(grace, 'Ada').boundingBox())!.y - before.y))
    .toBeLessThan(2);
  await expect.poll(() => unitUnder(grace, 'Ada')).toBe(unit + third.length);
});

test('a selection is drawn, and removed when its user leaves', async ({ visit }) => {
  const { page: ada, context } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  await editable(ada);
  await editable(grace);
  await text(ada).fill('one two three');
  await select(ada, 4, 7);
  await expect(grace.getByTestId('selection')).toHaveCount(1);
  await expect.poll(() => unitUnder(grace, 'Ada')).toBe(7);
  // It is as wide as the selected text, and moves with it.
  const width = (await grace.getByTestId('selection').boundingBox())!.width;
  const left = (await grace.getByTestId('selection').boundingBox())!.x;
  expect(width).toBeGreaterThan(10);
  await typeAt(grace, 0, 'zero ');
  await expect.poll(async () => (await grace.getByTestId('selection').boundingBox())!.x).toBeGreaterThan(left + 10);
  expect((await grace.getByTestId('selection').boundingBox())!.width).toBeCloseTo(width, 0);
  await context.close();
  await expect(caret(grace, 'Ada')).toHaveCount(0);
  await expect(grace.getByTestId('selection')).toHaveCount(0);
});

test('three people see each other’s carets and names', async ({ visit }) => {
  const names = ['Ada', 'Grace', 'Joan'];
  const people: (Visitor & { name: string })[] = [];
  for (const name of names) people.push({ name, ...(await visit(name, '/collab')) });
  for (const { page } of people) await editable(page);
  await text(people[0].page).fill('abcdefghij');
  for (const { page } of people) await expect(text(page)).toHaveValue('abcdefghij');
  for (const [index, { page }] of people.entries()) await select(page, 2 + 3 * index);
  for (const { page, name } of people) {
    for (const other of names.filter((other) => other !== name)) await expect(caret(page, other)).toHaveText(other);
    await expect(caret(page, name)).toHaveCount(0);
    await expect(page.getByTestId('here')).toHaveText('3 here');
  }
  await expect.poll(() => unitUnder(people[2].page, 'Ada')).toBe(2);
  // The focus is elsewhere on the page, so there is no caret.
  await people[1].page.getByTestId('share').focus();
  await expect(caret(people[0].page, 'Grace')).toHaveCount(0);
});

test('a user with two windows is one person with two carets', async ({ visit }) => {
  const { page: ada, context } = await visit('Ada', '/collab');
  const second = await context.newPage();
  await second.goto('/collab');
  const { page: grace } = await visit('Grace', '/collab');
  for (const page of [ada, second, grace]) {
    await editable(page);
    await connected(page);
  }
  await expect(grace.getByTestId('peer')).toHaveText(['Ada']);
  await expect(grace.getByTestId('here')).toHaveText('2 here');
  await expect(ada.getByTestId('here')).toHaveText('2 here');
  await text(ada).fill('abc');
  await select(ada, 1);
  await select(second, 2);
  await expect(caret(grace, 'Ada')).toHaveCount(2);
});
