import type { Page } from '@playwright/test';
import { connected, expect, openGuide, pageLink, test } from '../fixtures/app';

// The number of watchers is sent with the heartbeat.
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
  // The pages are read one after the other, so a round of prices may fall in between; then the next comparison decides.
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
  await openGuide(page);
  await pageLink(page, 'Ticker').click();
  await connected(page);
  await expect(page.getByTestId('price-row')).toHaveCount(24);
  await expect(page.getByTestId('price').filter({ hasText: /\d/ })).toHaveCount(24);
});

test.describe('the view', () => {
  function symbols(page: Page): Promise<(string | null)[]> {
    return page.getByTestId('price-row').evaluateAll((rows) => rows.map((row) => row.getAttribute('data-symbol')));
  }

  test('symbols are searched for and chosen, and the choice stands in the address', async ({ page }) => {
    await page.goto('/ticker');
    await connected(page);
    await page.getByTestId('picker-open').click();
    await page.getByTestId('picker-search').fill('freight');
    await expect(page.getByTestId('picker-option')).toHaveCount(1);
    await page.getByTestId('picker-search').fill('nothing has this name');
    await expect(page.getByTestId('picker-empty')).toBeVisible();
    await page.getByTestId('picker-search').fill('');
    await page.locator('[data-test=picker-option][data-symbol=ACME]').click();
    await expect(page.getByTestId('price-row')).toHaveCount(23);
    await expect(page).toHaveURL(/symbols=AMPR,/);
    await page.getByTestId('picker-all').click();
    await expect(page.getByTestId('price-row')).toHaveCount(24);
    await expect(page).toHaveURL('/ticker');
  });

  test('a link opens the same view, rendered by the server', async ({ page, request }) => {
    const link = '/ticker?symbols=INIT,ACME,ROAD&chart=INIT&sort=-symbol&filter=a';
    const html = await (await request.get(link)).text();
    expect(html.match(/data-test="price-row"/g)).toHaveLength(2);
    await page.goto(link);
    await connected(page);
    expect(await symbols(page)).toEqual(['ROAD', 'ACME']);
    await expect(page.getByTestId('chart')).toHaveAttribute('data-symbol', 'INIT');
    await expect(page.getByTestId('filter')).toHaveValue('a');
    // The link of the navigation contains no choice.
    await pageLink(page, 'Ticker').click();
    await expect(page.getByTestId('price-row')).toHaveCount(24);
  });

  test('unknown symbols in the address are reported and left out', async ({ page }) => {
    await page.goto('/ticker?symbols=ACME,NOPE');
    await connected(page);
    await expect(page.getByTestId('unknown-symbols')).toHaveText('Not listed here, and left out: NOPE.');
    expect(await symbols(page)).toEqual(['ACME']);
  });

  test('rows are sorted, filtered and charted by keyboard alone', async ({ page }) => {
    await page.goto('/ticker');
    await connected(page);
    const head = page.locator('[data-test=sort][data-column=Symbol]');
    await head.focus();
    await page.keyboard.press('Enter');
    expect((await symbols(page))[0]).toBe('ACME');
    await page.keyboard.press('Enter');
    await expect.poll(async () => (await symbols(page))[0]).toBe('VOLT');
    await expect(page.locator('th[aria-sort=descending]')).toHaveText('Symbol');
    await page.getByTestId('filter').focus();
    await page.keyboard.type('power');
    await expect.poll(() => symbols(page)).toEqual(['SOLR']);
    await page.getByTestId('filter').fill('');
    await page.locator('[data-test=price-row][data-symbol=RAIL] [data-test=select]').focus();
    await page.keyboard.press('Enter');
    await expect(page.getByTestId('chart')).toHaveAttribute('data-symbol', 'RAIL');
    await expect(page.locator('[data-test=select][aria-pressed=true]')).toHaveText('RAIL');
    // A screen reader announces once what was selected.
    await expect(page.getByTestId('announcement')).toHaveText(/^RAIL [\d.]+, [+−]?[\d.]+ percent$/);
  });

  test.describe('of a market that has not moved yet', () => {
    test.use({ flags: { 'tick-ms': 86_400_000 } });

    test('the first visitor sees the minutes before the start', async ({ page }) => {
      await page.goto('/ticker');
      await expect(page.getByTestId('spark').locator('path').first()).toHaveAttribute('d', /^M-?0\.0 [\d.]+(L[\d.]+ [\d.]+){50,}/);
      await expect(page.getByTestId('chart-line')).toHaveAttribute('d', /^M[\d.]+ [\d.]+(L[\d.]+ [\d.]+){50,}/);
      await expect(page.getByTestId('chart')).toContainText('the last 4 minutes');
    });
  });

  test('sparklines and the chart are drawn from the first minute on', async ({ page }) => {
    await page.goto('/ticker');
    await connected(page);
    await expect(page.getByTestId('spark').locator('path').first()).toHaveAttribute('d', /^M[\d.]+ [\d.]+/);
    const line = page.getByTestId('chart-line');
    const before = await line.getAttribute('d');
    await expect.poll(() => line.getAttribute('d'), { timeout: 10_000 }).not.toBe(before);
  });

  test('on a stream of its own a changed choice resumes at the same position, without a flash or a lost price', async ({ page, server }) => {
    const asked: URL[] = [];
    page.on('request', (request) => request.url().includes('/api/ticker/events') && asked.push(new URL(request.url())));
    await page.goto('/ticker?stream=own&symbols=ACME,INIT,QBIT');
    await connected(page);
    expect(asked).toHaveLength(1);
    expect(asked[0].searchParams.get('symbols')).toBe('ACME,INIT,QBIT');
    expect(asked[0].searchParams.has('last_event_id')).toBe(true);
    // From here on a price that is empty for a moment is recorded.
    await page.evaluate(() => {
      const rows = document.querySelector('[data-test=prices] tbody')!;
      const seen = { empty: 0 };
      Object.assign(window, { seen });
      new MutationObserver(() => {
        for (const price of rows.querySelectorAll('[data-test=price]')) if (!price.textContent) seen.empty += 1;
      }).observe(rows, { childList: true, subtree: true, characterData: true });
    });
    await page.getByTestId('picker-open').click();
    await page.locator('[data-test=picker-option][data-symbol=VOLT]').click();
    await expect.poll(() => asked.length).toBe(2);
    await connected(page);
    expect(asked[1].searchParams.get('symbols')).toBe('ACME,INIT,QBIT,VOLT');
    expect(asked[1].searchParams.get('added')).toBe('VOLT');
    expect(asked[1].searchParams.has('last_event_id')).toBe(true);
    await expect(page.locator('[data-test=price-row][data-symbol=VOLT]').getByTestId('price')).toHaveText(/\d/);
    expect(await page.evaluate('seen.empty')).toBe(0);
    await expect.poll(() => server.openConnections('ticker')).toBe(1);
  });
});

test.describe('with reduced motion', () => {
  test.use({ contextOptions: { reducedMotion: 'reduce' } });

  test('nothing flashes', async ({ page }) => {
    await page.goto('/ticker');
    await connected(page);
    const price = page.locator('[data-test=price].up, [data-test=price].down').first();
    await expect(price).toBeVisible();
    expect(await price.evaluate((price) => getComputedStyle(price).animationName)).toBe('none');
  });
});
