import type { Locator, Page } from '@playwright/test';
import { BROKEN_CONNECTION, connected, expect, status, test } from '../fixtures/app';
import { startCountdown } from '../fixtures/jobs';

// Pongs and heartbeats contain the count.
test.use({ tolerated: BROKEN_CONNECTION, flags: { 'client-ping-ms': 500, 'heartbeat-ms': 500 } });

/** Expects that the count follows another page that is opened and closed. */
async function follows(page: Page, count: Locator, noun: string): Promise<void> {
  await expect(count).toHaveText(`1 ${noun}`);
  const other = await page.context().newPage();
  await other.goto(page.url());
  await connected(other);
  await expect(count).toHaveText(`2 ${noun}`);
  await other.close();
  await expect(count).toHaveText(`1 ${noun}`);
}

for (const path of ['/chat', '/collab']) {
  test(`a socket page shows how many are connected, and keeps it up to date: ${path}`, async ({ page }) => {
    await page.goto(path);
    await connected(page);
    await follows(page, page.getByTestId('connected'), 'connected');
  });
}

test('a job shows how many watch it', async ({ page }) => {
  await page.goto('/progress');
  await startCountdown(page, 300, 200);
  await connected(page);
  await follows(page, page.getByTestId('watching'), 'watching');
});

test('both series of the guide show how many are connected', async ({ page }) => {
  await page.goto('/');
  await page.getByTestId('compare-toggle').click();
  await expect(page.getByTestId('connected')).toHaveText(['1 connected', '1 connected']);
});

test('a count is not shown any more when the connection is lost', async ({ page, server }) => {
  await page.goto('/chat');
  await connected(page);
  await expect(page.getByTestId('connected')).toHaveText('1 connected');
  await server.stop();
  await expect(status(page)).not.toHaveAttribute('data-state', 'open');
  await expect(page.getByTestId('connected')).toHaveCount(0);
});

test('the inspector shows how the socket closed last', async ({ page, server }) => {
  await page.goto('/chat');
  await connected(page);
  await page.getByTestId('inspector-toggle').click();
  await expect(page.getByTestId('last-close')).toHaveText('–');
  await server.stop();
  await expect(page.getByTestId('last-close')).toHaveText(/^1012\b/);
});
