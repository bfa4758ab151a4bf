import type { Page } from '@playwright/test';
import { BROKEN_CONNECTION, connected, expect, status, test } from '../fixtures/app';
import { startCountdown } from '../fixtures/jobs';

// Behind some VPNs Windows reports no network, although everything can be reached.
test.use({ tolerated: BROKEN_CONNECTION });

test.beforeEach(async ({ context }) => {
  await context.addInitScript(() => Object.defineProperty(Navigator.prototype, 'onLine', { get: () => false }));
});

/** Cuts the connection of the open page, and expects that it reconnects as soon as the user retries. */
async function losesItAndTriesAgain(page: Page, cut: () => void): Promise<void> {
  expect(await page.evaluate(() => navigator.onLine)).toBe(false);
  const line = status(page).first();
  await expect(line).toHaveAttribute('data-state', 'open');
  cut();
  await expect(line).toHaveAttribute('data-state', 'offline');
  await expect(line.getByTestId('status-words')).toHaveText(/^Offline\. The browser reports no network\. Trying in (30|[12]?\d) s$/);
  await line.getByTestId('retry-now').click();
  await expect(line).toHaveAttribute('data-state', 'open');
}

for (const path of ['/ticker', '/ticker?stream=own', '/chat', '/collab']) {
  test(`a wrong report of no network does not block ${path}`, async ({ page, wire }) => {
    await page.goto(`${wire.url}${path}`);
    await losesItAndTriesAgain(page, () => wire.cut());
  });
}

test('a wrong report of no network does not block a job', async ({ page, wire }) => {
  await page.goto(`${wire.url}/progress`);
  await startCountdown(page, 300, 200);
  await losesItAndTriesAgain(page, () => wire.cut());
});

test('a wrong report of no network does not block the live comparison', async ({ page, wire }) => {
  await page.goto(`${wire.url}/`);
  await expect(page.getByTestId('compare-toggle')).toBeEnabled();
  await page.getByTestId('compare-toggle').click();
  await expect(status(page)).toHaveCount(2);
  for (const lane of [0, 1]) await expect(status(page).nth(lane)).toHaveAttribute('data-state', 'open');
  await losesItAndTriesAgain(page, () => wire.cut());
});

test('while the browser reports no network attempts are still made', async ({ page, wire }) => {
  test.setTimeout(120_000);
  await page.goto(`${wire.url}/ticker?stream=own`);
  await connected(page);
  wire.cut();
  await expect(status(page)).toHaveAttribute('data-state', 'offline');
  // Every 30 s.
  await connected(page, 60_000);
});
