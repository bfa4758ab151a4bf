import { BROKEN_CONNECTION, chooseUnreachable, connected, expect, markDocument, pageLink, sameDocument, test } from '../fixtures/app';

// The browser and the loader of the page code log that a file could not be loaded.
test.use({ tolerated: new RegExp(`${BROKEN_CONNECTION.source}|Failed to fetch|status of 404|Incorrect response MIME|HTTP status code is not ok`) });

const FILE_OF_COLLAB = /\/pkg\/.*collab_page.*\.wasm/;

for (const path of ['/', '/ticker', '/progress', '/chat', '/collab']) {
  test(`a page uses what it preloads, and requests no file twice: ${path}`, async ({ page }) => {
    const requested: string[] = [];
    page.on('request', (request) => requested.push(request.url()));
    await page.addInitScript(() => {
      const { fetch } = window;
      const fetched = ((window as any).fetched = [] as string[]);
      window.fetch = (input, init) => {
        const { href } = new URL(input instanceof Request ? input.url : input, document.baseURI);
        if (href.endsWith('.wasm')) fetched.push(href);
        return fetch(input, init);
      };
    });
    await page.goto(path);
    const preloaded = await page.locator('link[rel=preload]').evaluateAll((links) => links.map((link) => (link as HTMLLinkElement).href));
    // The files of the app, and at least one of the page.
    expect(preloaded.length).toBeGreaterThan(1);
    await expect.poll(() => page.evaluate(() => ((window as any).fetched as string[]).toSorted())).toEqual(preloaded.toSorted());
    for (const file of preloaded) expect(requested.filter((url) => url === file)).toHaveLength(1);
  });
}

test('the title stays while the code of a page is on its way', async ({ page }) => {
  await page.addInitScript(() => {
    const seen = ((window as any).titles = new Set<string>());
    const look = () => {
      seen.add(document.title);
      requestAnimationFrame(look);
    };
    addEventListener('DOMContentLoaded', look);
  });
  // A slow connection.
  await page.route(/\/pkg\/.*ticker_page.*\.wasm/, async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await route.continue();
  });
  await page.goto('/ticker');
  await connected(page);
  expect(await page.evaluate(() => [...(window as any).titles])).toEqual(['Ticker · Wirewise']);
});

test('a page chosen while the connection is cut opens after it recovers', async ({ page, context }) => {
  await page.goto('/ticker');
  await connected(page);
  await markDocument(page);
  await chooseUnreachable(page, 'Collab');
  // The current page stays.
  await expect(page).toHaveURL('/ticker');
  await expect(page.getByTestId('price-row')).toHaveCount(24);

  await context.setOffline(false);
  await expect(page).toHaveURL('/collab');
  await connected(page);
  await expect(page.getByTestId('awaited-page')).toBeEmpty();
  expect(await sameDocument(page)).toBe(true);
});

test('a page whose code could not be loaded once opens in the same document', async ({ page }) => {
  await page.goto('/ticker');
  await connected(page);
  await markDocument(page);
  let failed = false;
  await page.route(FILE_OF_COLLAB, (route) => {
    if (failed) return route.continue();
    failed = true;
    return route.abort();
  });
  await pageLink(page, 'Collab').click();
  await expect(page).toHaveURL('/collab');
  await connected(page);
  expect(failed).toBe(true);
  expect(await sameDocument(page)).toBe(true);
});

test('a page that is no longer wanted does not open after the connection recovers', async ({ page, context }) => {
  await page.goto('/ticker');
  await connected(page);
  await chooseUnreachable(page, 'Collab');
  await pageLink(page, 'Ticker').click();
  await expect(page.getByTestId('awaited-page')).toBeEmpty();
  await context.setOffline(false);
  await pageLink(page, 'Chat').click();
  await expect(page).toHaveURL('/chat');
  await connected(page);
});

test('a page of a build that the server has replaced is loaded as a new document', async ({ page }) => {
  await page.goto('/ticker');
  await connected(page);
  await markDocument(page);
  let replaced = true;
  // The file has the same name in both builds here. The page asks with HEAD whether it has that of the new document.
  await page.route(FILE_OF_COLLAB, (route) => (replaced && route.request().method() === 'GET' ? route.fulfill({ status: 404 }) : route.continue()));
  await page.route('**/collab', (route) => {
    if (route.request().isNavigationRequest()) replaced = false;
    return route.continue();
  });
  await pageLink(page, 'Collab').click();
  await connected(page);
  await expect(page).toHaveURL('/collab');
  expect(replaced).toBe(false);
  expect(await sameDocument(page)).toBe(false);
});
