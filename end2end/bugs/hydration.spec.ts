import type { Locator, Page } from '@playwright/test';
import { alive, BROKEN_CONNECTION, connected, expect, guideLives, markDocument, pageLink, sameDocument, test } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';
import { editable, saved, typeAt } from '../fixtures/collab';
import { extend, translate, type Place } from '../fixtures/extensions';
import { startCountdown } from '../fixtures/jobs';

// Console messages of a failed hydration, and of a file that cannot be loaded or run.
const HYDRATION = /hydration error|panicked at|unreachable/;
// A script that is blocked rejects the import with an exception that has no words.
const FILES = /^exception on [^ ]+: $|[Ff]ailed to fetch|status of 404|HTTP status code is not ok|WebAssembly|`WebAssembly/;
test.use({ tolerated: new RegExp([HYDRATION, FILES, BROKEN_CONNECTION].map(({ source }) => source).join('|')) });

/** Checks for each page that it is alive. */
const PAGES: Record<string, (page: Page) => Promise<void>> = {
  '/': async (page) => {
    await guideLives(page);
    await page.getByTestId('compare-toggle').click();
    await expect(page.getByTestId('lane')).toHaveCount(2);
  },
  '/ticker': async (page) => {
    await connected(page);
    await page.getByTestId('filter').fill('no such symbol');
    await expect(page.getByTestId('price-row')).toHaveCount(0);
    await page.getByTestId('filter').fill('');
    await expect(page.getByTestId('price-row')).toHaveCount(24);
    await pricesMove(page);
  },
  '/progress': async (page) => {
    await alive(page);
    await startCountdown(page, 2, 50);
    await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done');
  },
  '/chat': async (page) => {
    await connected(page);
    await say(page, 'Hello');
    // The text may be inside the marks of a translator.
    await expect(texts(page).last()).toContainText('Hello');
  },
  '/collab': async (page) => {
    await editable(page);
    await typeAt(page, 0, 'Hello');
    await saved(page);
  },
};

const PLACES: Place[] = ['at the beginning of body', 'behind each field', 'before main'];

function notice(page: Page): Locator {
  return page.getByTestId('stopped-page');
}

async function pricesMove(page: Page): Promise<void> {
  const prices = page.getByTestId('price');
  const before = await prices.allTextContents();
  await expect.poll(() => prices.allTextContents()).not.toEqual(before);
}

/** Counts the documents that the page loads from now on. */
function documents(page: Page): () => number {
  let count = 0;
  page.on('request', (request) => {
    if (request.isNavigationRequest()) count += 1;
  });
  return () => count;
}

for (const [path, lives] of Object.entries(PAGES)) {
  for (const place of PLACES) {
    test(`with an extension that adds an element ${place} the page is alive: ${path}`, async ({ page }) => {
      await extend(page, place);
      const loaded = documents(page);
      await page.goto(path);
      await lives(page);
      await expect(page.locator('[data-extension]').first()).toBeAttached();
      await expect(page.locator('header.site')).toHaveCount(1);
      await expect(page.locator('main')).toHaveCount(1);
      await expect(notice(page)).toHaveCount(0);
      expect(loaded()).toBeLessThanOrEqual(2);
    });
  }

  for (const [what, file, answer] of [
    ['the JavaScript is blocked', /\/pkg\/wirewise(\.[^/]*)?\.js$/, undefined],
    ['the WebAssembly is blocked', /\/pkg\/wirewise(\.[^/]*)?\.wasm$/, undefined],
    ['the WebAssembly is gone after a deploy', /\/pkg\/wirewise(\.[^/]*)?\.wasm$/, { status: 404 }],
  ] as const) {
    test(`where ${what} the page reports it and reloads: ${path}`, async ({ page }) => {
      await page.route(file, (route) => (answer ? route.fulfill(answer) : route.abort()));
      await page.goto(path);
      await expect(notice(page)).toContainText('could not be loaded');
      await page.unroute(file);
      await notice(page).getByRole('button', { name: 'Load it again' }).click();
      await lives(page);
      await expect(notice(page)).toHaveCount(0);
    });
  }

  test(`in a browser without WebAssembly the page reports it, and its links work: ${path}`, async ({ page }) => {
    await page.addInitScript(() => Reflect.deleteProperty(window, 'WebAssembly'));
    await page.goto(path);
    await expect(notice(page)).toContainText('no WebAssembly');
    await pageLink(page, 'Ticker').click();
    await expect(page).toHaveURL('/ticker');
    await expect(page.getByTestId('price-row')).toHaveCount(24);
  });

  test(`a page that is translated before hydration is alive: ${path}`, async ({ page }) => {
    await page.addInitScript(translate);
    await page.goto(path);
    await lives(page);
    await expect(notice(page)).toHaveCount(0);
  });
}

test('a page that mounts itself afresh begins with the prices of its document', async ({ page }) => {
  // Nothing else has prices.
  await page.route('**/api/ticker/**', (route) => route.abort());
  await extend(page, 'before main');
  await page.goto('/ticker');
  await alive(page);
  await expect(page.getByTestId('price-row')).toHaveCount(24);
  for (const price of await page.getByTestId('price').allTextContents()) expect(price).toMatch(/^[\d,]+\.\d\d$/);
  await expect(page.getByTestId('chart')).toHaveAttribute('data-symbol', 'ACME');
});

test('a tab remembers that its documents cannot be hydrated, and loads the next ones once', async ({ page }) => {
  await extend(page, 'before main');
  await page.goto('/');
  await guideLives(page);
  const loaded = documents(page);
  await page.goto('/ticker');
  await connected(page);
  await page.goto('/chat');
  await connected(page);
  expect(loaded()).toBe(2);
  // The name is in the document, and is not requested again.
  await expect(page.getByTestId('name')).not.toHaveValue('');
});

test('with foreign elements in body the page is hydrated as it is', async ({ page }) => {
  await extend(page, 'at the beginning of body');
  const loaded = documents(page);
  await page.goto('/ticker');
  await connected(page);
  expect(loaded()).toBe(1);
});

test('changes of extensions to the root element are harmless', async ({ page }) => {
  await page.addInitScript(() => {
    const observer = new MutationObserver(() => {
      const root = document.documentElement;
      if (!root) return;
      observer.disconnect();
      root.setAttribute('data-darkreader-mode', 'dynamic');
      // Not a style element: the page's policy would refuse it, although it does not refuse one of an extension.
      root.append(document.createElement('template'));
      addEventListener('DOMContentLoaded', () => document.body.setAttribute('data-gr-ext-installed', ''));
    });
    observer.observe(document, { childList: true });
  });
  const loaded = documents(page);
  await page.goto('/ticker');
  await connected(page);
  expect(loaded()).toBe(1);
});

test('while the code of the page does not load, the page reports it', async ({ page }) => {
  let gone = true;
  await page.route(/\/pkg\/.*ticker_page.*\.wasm/, (route) => (gone ? route.fulfill({ status: 404 }) : route.continue()));
  await page.goto('/ticker');
  await expect(notice(page)).toContainText('could not be loaded');
  gone = false;
  await connected(page, 20_000);
  await expect(notice(page)).toHaveCount(0);
});

test('a late page reports it, and continues when its code has loaded', async ({ page }) => {
  await page.clock.install();
  let release!: () => void;
  const released = new Promise<void>((done) => (release = done));
  await page.route(/\/pkg\/wirewise(\.[^/]*)?\.wasm$/, async (route) => {
    await released;
    await route.continue();
  });
  await page.goto('/ticker');
  await page.clock.fastForward(25_000);
  await expect(notice(page)).toContainText('still being loaded');
  release();
  await expect(notice(page)).toHaveCount(0);
});

test('a page that panics later reports it, looks inactive, and offers a way on', async ({ page }) => {
  await page.goto('/ticker');
  await connected(page);
  // The function that the panic hook of the app calls.
  await page.evaluate(() => (window as unknown as { wirewise: { panicked(): void } }).wirewise.panicked());
  await expect(notice(page)).toContainText('has stopped');
  await expect(page.locator('main')).toHaveCSS('opacity', '0.55');
  await markDocument(page);
  await pageLink(page, 'Chat').click();
  await connected(page);
  await expect(page).toHaveURL('/chat');
  expect(await sameDocument(page)).toBe(false);
  await expect(notice(page)).toHaveCount(0);
});
