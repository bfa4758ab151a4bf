import type { BrowserContext, Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';
import { withCertificate } from '../fixtures/certificate';
import { barValues, startCountdown } from '../fixtures/jobs';

/** The connections that a browser opens to a host over HTTP/1.1, for all tabs together. */
const CONNECTIONS = 6;
const TABS = 20;

// The pages are read while they stream; motion is not tested here.
test.use({ contextOptions: { reducedMotion: 'reduce' } });

/** Starts a job that lasts longer than the test, and opens its page in further tabs of the same browser until there are `count`. */
async function openJob(page: Page, context: BrowserContext, count: number): Promise<Page[]> {
  await page.goto('/progress');
  await startCountdown(page, 1_000, 500);
  await connected(page);
  const tabs = [page];
  while (tabs.length < count) {
    const tab = await context.newPage();
    await tab.goto(page.url());
    await connected(tab);
    tabs.push(tab);
  }
  return tabs;
}

/** Expects the bar of each tab to move on from here, twice. */
async function expectProgress(tabs: Page[]): Promise<void> {
  const seen = await Promise.all(tabs.map(barValues));
  for (const values of seen) await expect.poll(() => values.evaluate((values) => values.length)).toBeGreaterThan(2);
}

/** The protocol over which the document of a page came: `h2`, `http/1.1`. */
function protocol(page: Page): Promise<string> {
  return page.evaluate(() => (performance.getEntriesByType('navigation')[0] as PerformanceNavigationTiming).nextHopProtocol);
}

test.describe("over the server's own TLS", () => {
  test.use({
    ignoreHTTPSErrors: true,
    flags: async ({}, use) => withCertificate(use),
  });

  test('twenty tabs stream a job at once over HTTP/2', async ({ context, page }) => {
    test.setTimeout(180_000);
    const tabs = await openJob(page, context, TABS);
    expect(new Set(await Promise.all(tabs.map(protocol)))).toEqual(new Set(['h2']));
    await expectProgress(tabs);
    for (const tab of tabs) await expect(tab.getByTestId('status')).toHaveAttribute('data-state', 'open');
  });

  test('the browser opens a socket over the HTTP/2 connection', async ({ context, page }) => {
    const welcomed = page.waitForEvent('websocket').then((socket) => socket.waitForEvent('framereceived'));
    await page.goto('/chat');
    await connected(page);
    const { connection } = JSON.parse(`${(await welcomed).payload}`);
    const handshake = await (await context.request.get(`/api/connections/${connection}`)).json();
    expect(handshake.request).toMatch(/^CONNECT \/api\/chat\/socket HTTP\/2\.0\n/);
  });

  test('the session is in a cookie that is sent over https only', async ({ context, page }) => {
    await page.goto('/ticker');
    await connected(page);
    const session = (await context.cookies()).find((cookie) => cookie.name === 'wirewise_session');
    expect(session).toMatchObject({ secure: true, httpOnly: true });
  });
});

test('over HTTP/1.1 the seventh tab waits until another one closes', async ({ context, page }) => {
  test.setTimeout(120_000);
  const tabs = await openJob(page, context, CONNECTIONS);
  expect(await protocol(page)).toBe('http/1.1');
  const seventh = await context.newPage();
  let isOpen = false;
  const opening = seventh.goto(page.url()).then(() => (isOpen = true));
  // For as long as the others take to show two steps, each half a second.
  await expectProgress(tabs);
  expect(isOpen).toBe(false);
  await tabs[1].close();
  await opening;
  await connected(seventh);
});
