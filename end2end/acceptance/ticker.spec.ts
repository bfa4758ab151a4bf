import type { Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';

// The count of watchers travels with the heartbeat.
test.use({ flags: { 'heartbeat-ms': 500 } });

/** All rows at one instant. */
function rows(page: Page) {
  return page.getByTestId('price-row').evaluateAll((rows) =>
    rows.map((row) => ({
      symbol: row.getAttribute('data-symbol'),
      direction: row.getAttribute('data-direction'),
      price: row.querySelector('[data-test=price]')?.textContent,
      change: row.querySelectorAll('td')[2].textContent ?? '',
    })),
  );
}

test('two windows see the same prices move, and each counts the other', async ({ page, visit }) => {
  await page.goto('/ticker');
  const { page: other } = await visit('Ada', '/ticker');
  await connected(page);
  await connected(other);
  await expect(page.getByTestId('watching')).toHaveText('2 watching');
  await expect(other.getByTestId('watching')).toHaveText('2 watching');

  const before = await rows(page);
  expect(before).toHaveLength(24);
  await expect.poll(() => rows(page)).not.toEqual(before);
  // Read one after the other, so a round of prices may fall in between: then the next look decides.
  await expect(async () => expect(await rows(other)).toEqual(await rows(page))).toPass({ timeout: 5_000 });

  await other.close();
  await expect(page.getByTestId('watching')).toHaveText('1 watching');
});

test('every price is a number, and its direction is the sign of its change', async ({ page }) => {
  await page.goto('/ticker');
  await connected(page);
  const before = await rows(page);
  await expect.poll(() => rows(page)).not.toEqual(before);
  const now = await rows(page);
  expect(now.map((row) => row.price)).toEqual(now.map(() => expect.stringMatching(/^\d{1,3}(,\d{3})*\.\d{2}$/)));
  const sign = (change: string) => (change.startsWith('+') ? 'up' : change.startsWith('−') ? 'down' : '');
  expect(now.map((row) => row.direction)).toEqual(now.map((row) => sign(row.change)));
});

test('a visit by the router gets names and prices too', async ({ page }) => {
  await page.goto('/');
  await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Ticker' }).click();
  await connected(page);
  await expect(page.getByTestId('price-row')).toHaveCount(24);
  await expect(page.getByTestId('price').filter({ hasText: /\d/ })).toHaveCount(24);
});
