import type { Page } from '@playwright/test';
import { BROKEN_CONNECTION, connected, expect, test } from '../fixtures/app';

test.use({ viewport: { width: 375, height: 667 } });

/** Expects that nothing is wider than the window, and that it cannot be scrolled to the right. */
async function expectNoSidewaysScrolling(page: Page): Promise<void> {
  await page.evaluate(() => scrollTo(10_000, 0));
  expect(await page.evaluate(() => ({ width: document.documentElement.scrollWidth, scrolled: scrollX }))).toEqual({ width: 375, scrolled: 0 });
}

for (const path of ['/', '/ticker', '/progress', '/chat', '/collab']) {
  test(`a phone shows ${path} without scrolling sideways`, async ({ page }) => {
    await page.goto(path);
    if (path !== '/' && path !== '/progress') await connected(page);
    await expectNoSidewaysScrolling(page);
  });
}

test('a phone shows a running job without scrolling sideways', async ({ page }) => {
  await page.goto('/progress');
  await page.getByTestId('steps').fill('1000');
  await page.getByTestId('start').click();
  await connected(page);
  await expectNoSidewaysScrolling(page);
});

test('a phone shows long words and long names without scrolling sideways', async ({ visit }) => {
  const { page } = await visit('W'.repeat(32), '/chat');
  await connected(page);
  await page.getByTestId('composer').fill('W'.repeat(300));
  await page.getByTestId('send').click();
  await expect(page.getByTestId('message')).toHaveCount(1);
  await expectNoSidewaysScrolling(page);
});

test.describe('without a server', () => {
  // The browser logs that the server is unreachable.
  test.use({ tolerated: BROKEN_CONNECTION });

  test('a phone shows a lost connection without scrolling sideways', async ({ page, server }) => {
    await page.goto('/ticker');
    await connected(page);
    await server.stop();
    await expect(page.getByTestId('retry-now')).toBeVisible();
    await expectNoSidewaysScrolling(page);
  });
});
