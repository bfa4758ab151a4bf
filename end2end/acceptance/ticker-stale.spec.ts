import { connected, expect, test as base } from '../fixtures/app';
import { Exchange } from '../fixtures/exchange';

// In a file of its own, because `test.use` of flags would replace the flags that name the exchange.
const test = base.extend<{ exchange: Exchange }>({
  exchange: async ({}, use) => {
    const exchange = await Exchange.start();
    await use(exchange);
    exchange.close();
  },
  flags: async ({ exchange }, use) => use({ feed: `coinbase:ws://127.0.0.1:${exchange.port}/`, products: 'BTC-USD,ETH-USD' }),
});

test('a feed that is down is shown as stale, and its last prices stay', async ({ page, context, exchange }) => {
  await page.goto('/ticker');
  await connected(page);
  await exchange.subscribed();
  exchange.price('BTC-USD', 43_210.5);
  exchange.price('ETH-USD', 2_345.25);
  const prices = page.getByTestId('price');
  await expect(prices).toHaveText(['43,210.50', '2,345.25']);
  await expect(page.getByTestId('stale')).toHaveCount(0);

  exchange.drop();
  await expect(page.getByTestId('stale')).toHaveText(/^feed stale since \d\d:\d\d:\d\d$/);
  await expect(prices).toHaveText(['43,210.50', '2,345.25']);
  // A new page shows it too.
  const late = await context.newPage();
  await late.goto('/ticker');
  await expect(late.getByTestId('stale')).toHaveText(/^feed stale since \d\d:\d\d:\d\d$/);
  await expect(late.getByTestId('price')).toHaveText(['43,210.50', '2,345.25']);

  await exchange.subscribed();
  exchange.price('BTC-USD', 43_211);
  for (const tab of [page, late]) {
    await expect(tab.getByTestId('stale')).toHaveCount(0);
    await expect(tab.getByTestId('price').first()).toHaveText('43,211.00');
  }
});

test('the last prices before a silence are sorted and drawn', async ({ page, exchange }) => {
  await page.goto('/ticker?sort=price');
  await connected(page);
  await exchange.subscribed();
  const order = () => page.getByTestId('price-row').evaluateAll((rows) => rows.map((row) => row.getAttribute('data-symbol')));
  exchange.price('BTC-USD', 100);
  exchange.price('ETH-USD', 200);
  await expect(page.getByTestId('price')).toContainText(['100', '200']);
  expect(await order()).toEqual(['BTC-USD', 'ETH-USD']);
  // The rows were sorted less than a second ago, and no price follows this one.
  exchange.price('BTC-USD', 300);
  await expect.poll(order).toEqual(['ETH-USD', 'BTC-USD']);
});
