import type { Locator, Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';

/** Moves the mouse to a position in fractions of the board's width and height. */
async function pointAt(page: Page, x: number, y: number): Promise<void> {
  const box = (await page.getByTestId('board').boundingBox())!;
  await page.mouse.move(box.x + box.width * x, box.y + box.height * y, { steps: 5 });
}

function pointer(page: Page, name: string): Locator {
  return page.locator(`[data-test=pointer][data-name="${name}"]`);
}

/** Compares within half a percent, because pixels are whole. */
async function expectAt(pointer: Locator, x: number, y: number): Promise<void> {
  for (const [attribute, part] of [['x', x], ['y', y]] as const) {
    await expect
      .poll(async () => Math.abs(parseFloat((await pointer.getAttribute(attribute)) ?? 'NaN') - part * 100))
      .toBeLessThan(0.5);
  }
}

test('a pointer moves in the other window, with name and colour', async ({ visit }) => {
  const { page: ada, user } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  await connected(ada);
  await connected(grace);

  await pointAt(ada, 0.25, 0.75);
  await expectAt(pointer(grace, 'Ada'), 0.25, 0.75);
  await expect(pointer(grace, 'Ada')).toContainText('Ada');
  await expect(pointer(grace, 'Ada').locator('path')).toHaveAttribute('fill', user.color);
  await pointAt(ada, 0.6, 0.1);
  await expectAt(pointer(grace, 'Ada'), 0.6, 0.1);

  await pointAt(grace, 0.5, 0.5);
  await expectAt(pointer(ada, 'Grace'), 0.5, 0.5);
  // The user's own pointer is the mouse; it is not drawn a second time.
  await expect(pointer(ada, 'Ada')).toHaveCount(0);
  await expect(pointer(grace, 'Grace')).toHaveCount(0);
});

test('a pointer that leaves the board is hidden, and shown again when it returns', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  await connected(ada);
  await connected(grace);
  await pointAt(ada, 0.5, 0.5);
  await expect(pointer(grace, 'Ada')).toBeVisible();
  await ada.mouse.move(1, 1);
  await expect(pointer(grace, 'Ada')).toBeHidden();
  await pointAt(ada, 0.3, 0.3);
  await expect(pointer(grace, 'Ada')).toBeVisible();
});

test('a later user sees the pointers that do not move', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  await connected(ada);
  await pointAt(ada, 0.4, 0.6);
  // The server has the position, and nothing moves any more.
  await expect.poll(async () => (await ada.request.get('/collab')).text()).toMatch(/<svg x="(39\.\d*|40(\.\d*)?)%"/);
  const { page: grace } = await visit('Grace', '/collab');
  await connected(grace);
  await expectAt(pointer(grace, 'Ada'), 0.4, 0.6);
});

test('a user who leaves disappears for all others within a second', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: grace, context: graceHas } = await visit('Grace', '/collab');
  await connected(ada);
  await connected(grace);
  await pointAt(grace, 0.5, 0.5);
  await expect(pointer(ada, 'Grace')).toBeVisible();
  await expect(ada.getByTestId('here')).toHaveText('2 here');
  await expect(ada.getByTestId('peer')).toHaveText(['Grace']);
  await graceHas.close();
  await expect(pointer(ada, 'Grace')).toHaveCount(0, { timeout: 1_000 });
  await expect(ada.getByTestId('here')).toHaveText('1 here');
  await expect(ada.getByTestId('peer')).toHaveCount(0);
});

test('documents are separate', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab/one');
  const { page: grace } = await visit('Grace', '/collab/two');
  const { page: joan } = await visit('Joan', '/collab/one');
  for (const page of [ada, grace, joan]) await connected(page);
  await pointAt(ada, 0.5, 0.5);
  await expect(pointer(joan, 'Ada')).toBeVisible();
  await expect(grace.getByTestId('here')).toHaveText('1 here');
  await expect(grace.getByTestId('pointer')).toHaveCount(0);
});
