import type { BrowserContext, Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';
import { withCertificate } from '../fixtures/certificate';
import { barValues, startCountdown } from '../fixtures/jobs';

/** The connections that a browser opens to a host over HTTP/1.1, for all tabs together. */
const CONNECTIONS = 6;
const TABS = 20;
/** A bound for a busy machine, on which many tabs start at once; no expectation of speed. */
const OPEN_WITHIN_MS = 90_000;

// The pages are read while they stream; motion is not tested here.
test.use({ contextOptions: { reducedMotion: 'reduce' } });

/** Starts a job that lasts longer than the test. The page then shows it. */
async function startJob(page: Page): Promise<void> {
  await page.goto('/progress');
  await startCountdown(page, 1_000, 1_000);
  await connected(page);
}

/** Opens the page of the job in a further tab of the same browser. */
async function openTab(page: Page, context: BrowserContext): Promise<Page> {
  const tab = await context.newPage();
  await tab.goto(page.url());
  await connected(tab, OPEN_WITHIN_MS);
  return tab;
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
    await startJob(page);
    // All at once: the machine is busy with the pages, not with waiting.
    const further = Array.from({ length: TABS - 1 }, () => openTab(page, context));
    const tabs = [page, ...(await Promise.all(further))];
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
  await startJob(page);
  const tabs = [page];
  // One after the other: an open stream takes the connection over which another tab would load its files.
  while (tabs.length < CONNECTIONS) tabs.push(await openTab(page, context));
  expect(await protocol(page)).toBe('http/1.1');
  const seventh = await context.newPage();
  let isOpen = false;
  const opening = seventh.goto(page.url()).then(() => (isOpen = true));
  // For as long as the others take to show two steps, of a second each.
  await expectProgress(tabs);
  expect(isOpen).toBe(false);
  await tabs[1].close();
  await opening;
  await connected(seventh);
});
