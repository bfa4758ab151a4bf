import type { Page } from '@playwright/test';
import { BAD_GATEWAY, BROKEN_CONNECTION, connected, expect, markDocument, pageLink, sameDocument, status, test } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';
import type { Gateway, Trouble } from '../fixtures/gateway';
import { startCountdown } from '../fixtures/jobs';

// The loader of the page code also logs that a file could not be loaded.
test.use({ tolerated: new RegExp(`${BROKEN_CONNECTION.source}|${BAD_GATEWAY.source}|Incorrect response MIME|HTTP status code is not ok`) });

/** The time for several attempts, and on a slow machine for the load of a page between them. */
const RECOVERS_WITHIN_MS = 30_000;

const TROUBLES: Record<string, Trouble> = {
  '502': { status: 502 },
  '503': { status: 503 },
  '503 with Retry-After': { status: 503, retryAfter: 1 },
};

/** Refuses everything until the page has made two failed attempts; then the server is reachable again. */
async function goesThrough(trouble: Trouble, gateway: Gateway, page: Page, route: RegExp): Promise<void> {
  await markDocument(page);
  gateway.fail(trouble);
  gateway.cut();
  await expect.poll(() => gateway.refusals(route), { timeout: RECOVERS_WITHIN_MS }).toBeGreaterThan(1);
  gateway.pass();
  await connected(page, RECOVERS_WITHIN_MS);
  expect(await sameDocument(page)).toBe(true);
}

for (const [name, trouble] of Object.entries(TROUBLES)) {
  test.describe(`a gateway that answers ${name} for a while`, () => {
    test('is survived by the ticker, which gets what it missed', async ({ page, gateway }) => {
      await page.goto(`${gateway.url}/ticker`);
      await connected(page);
      await goesThrough(trouble, gateway, page, /^\/api\/ticker\/events/);
      await expect(page.getByTestId('recovered')).toHaveText(/^recovered [1-9]\d* events$/);
    });

    test('is survived by a job', async ({ page, gateway }) => {
      await page.goto(`${gateway.url}/progress`);
      await startCountdown(page, 300, 200);
      await connected(page);
      const value = await page.getByTestId('bar').evaluate((bar) => (bar as HTMLProgressElement).value);
      await goesThrough(trouble, gateway, page, /^\/api\/jobs\/.*\/events/);
      await expect.poll(() => page.getByTestId('bar').evaluate((bar) => (bar as HTMLProgressElement).value)).toBeGreaterThan(value);
    });

    test('is survived by the chat, which sends what was written meanwhile', async ({ page, gateway }) => {
      await page.goto(`${gateway.url}/chat`);
      await connected(page);
      gateway.fail(trouble);
      gateway.cut();
      await expect(status(page)).not.toHaveAttribute('data-state', 'open');
      await say(page, 'Anybody there?');
      await goesThrough(trouble, gateway, page, /^\/api\/chat\/socket/);
      await expect(texts(page)).toHaveText(['Anybody there?']);
      await expect(page.getByTestId('unsent')).toHaveCount(0);
    });

    test('is survived by the board', async ({ page, gateway }) => {
      await page.goto(`${gateway.url}/collab`);
      await connected(page);
      await goesThrough(trouble, gateway, page, /^\/api\/collab\//);
    });

    test('is survived by both series of the guide', async ({ page, gateway }) => {
      await page.goto(`${gateway.url}/`);
      await page.getByTestId('compare-toggle').click();
      for (const lane of [0, 1]) await expect(status(page).nth(lane)).toHaveAttribute('data-state', 'open');
      gateway.fail(trouble);
      gateway.cut();
      for (const route of [/^\/api\/compare\/events/, /^\/api\/compare\/socket/]) {
        await expect.poll(() => gateway.refusals(route), { timeout: RECOVERS_WITHIN_MS }).toBeGreaterThan(1);
      }
      gateway.pass();
      for (const lane of [0, 1]) await expect(status(page).nth(lane)).toHaveAttribute('data-state', 'open', { timeout: RECOVERS_WITHIN_MS });
    });
  });
}

test('a Retry-After is respected, whatever the tab and the network do, except when the user retries', async ({ page, gateway }) => {
  await page.goto(`${gateway.url}/ticker?stream=own`);
  await connected(page);
  gateway.fail({ status: 503, retryAfter: 300 });
  gateway.cut();
  const words = page.getByTestId('status-words');
  await expect(words).toHaveText(/^Connection lost\. Retrying in 2\d\d s$/, { timeout: RECOVERS_WITHIN_MS });
  const refused = gateway.refused.length;
  await page.evaluate(() => {
    for (const event of ['online', 'pageshow']) window.dispatchEvent(new Event(event));
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
  });
  await expect(words).toHaveText(/^Connection lost\. Retrying in 2\d\d s$/);
  expect(gateway.refused).toHaveLength(refused);
  gateway.pass();
  await page.getByTestId('retry-now').click();
  await connected(page);
});

test('an excessive Retry-After is limited', async ({ page, gateway }) => {
  await page.goto(`${gateway.url}/ticker?stream=own`);
  await connected(page);
  gateway.fail({ status: 503, retryAfter: 1e15 });
  gateway.cut();
  // A Retry-After is limited to ten minutes.
  await expect(page.getByTestId('status-words')).toHaveText(/^Connection lost\. Retrying in (600|5\d\d) s$/, { timeout: RECOVERS_WITHIN_MS });
});

const CODE_OF_COLLAB = /\/pkg\/.*collab_page.*\.wasm/;

/** Fails the first two requests for the code of the page. The request that checks whether a new document would help does not count. */
function failTwice(gateway: Gateway, status: Trouble['status']): void {
  let loads = 0;
  gateway.fail((request) => {
    if (!CODE_OF_COLLAB.test(request.url!)) return undefined;
    if (request.method === 'GET') loads += 1;
    return loads <= 2 ? { status } : undefined;
  });
}

for (const trouble of [502, 503] as const) {
  test(`a page whose code is answered ${trouble} for a while opens by itself, in the same document`, async ({ page, gateway }) => {
    await page.goto(`${gateway.url}/ticker`);
    await connected(page);
    await markDocument(page);
    failTwice(gateway, trouble);
    await pageLink(page, 'Collab').click();
    await expect(page.getByTestId('awaited-page')).toHaveText(/could not be loaded/);
    await expect(page.getByTestId('price-row')).toHaveCount(24);
    await expect(page).toHaveURL(`${gateway.url}/collab`, { timeout: RECOVERS_WITHIN_MS });
    await connected(page);
    await expect(page.getByTestId('awaited-page')).toBeEmpty();
    expect(await sameDocument(page)).toBe(true);
  });
}

test('the current page stays when another page is chosen while the gateway refuses everything', async ({ page, gateway }) => {
  await page.goto(`${gateway.url}/ticker`);
  await connected(page);
  // The gateway itself may answer the health checks.
  gateway.fail((request) => (/^\/(healthz|readyz)/.test(request.url!) ? undefined : { status: 502 }));
  await pageLink(page, 'Collab').click();
  await expect(page.getByTestId('awaited-page')).toHaveText(/could not be loaded/);
  await expect.poll(() => gateway.refusals(CODE_OF_COLLAB), { timeout: RECOVERS_WITHIN_MS }).toBeGreaterThan(2);
  await expect(page).toHaveURL(`${gateway.url}/ticker`);
  await expect(page.getByTestId('price-row')).toHaveCount(24);
  gateway.pass();
  await expect(page).toHaveURL(`${gateway.url}/collab`, { timeout: RECOVERS_WITHIN_MS });
  await connected(page, RECOVERS_WITHIN_MS);
});

test('a page that is opened directly while its code is answered 502 starts by itself', async ({ page, gateway }) => {
  failTwice(gateway, 502);
  await page.goto(`${gateway.url}/collab`);
  await connected(page, RECOVERS_WITHIN_MS);
});
