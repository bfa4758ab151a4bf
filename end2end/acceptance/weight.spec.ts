import type { Page } from '@playwright/test';
import { alive, expect, test } from '../fixtures/app';

/** What a first visit may download of JavaScript and wasm, in KiB as sent. `docs/weight.md` says what it consists of. */
const BUDGETS = { '/': 205, '/ticker': 350, '/progress': 347, '/chat': 407, '/collab': 435 };

interface Download {
  encoding: string | undefined;
  /** Of the body, as sent. */
  bytes: number;
}

/** The code that a page downloads from now on, as the browser's network log has it: bytes of the body as sent. */
async function downloads(page: Page) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Network.enable');
  const open = new Map<string, Download & { file: string }>();
  const files = new Map<string, Download>();
  const cached = new Set<string>();
  // The memory's cache; the disk's is told with the response.
  devtools.on('Network.requestServedFromCache', ({ requestId }) => cached.add(requestId));
  devtools.on('Network.responseReceived', ({ requestId, response }) => {
    const { pathname } = new URL(response.url);
    // What a cache answers counts for nothing.
    if (!/^\/pkg\//.test(pathname) || response.fromDiskCache || cached.has(requestId)) return;
    // The length so far is that of the head.
    open.set(requestId, { file: pathname, encoding: response.headers['content-encoding'], bytes: -response.encodedDataLength });
  });
  devtools.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
    const response = open.get(requestId);
    if (response) files.set(response.file, { ...response, bytes: response.bytes + encodedDataLength });
  });
  return files;
}

/** Opens a page, and waits until it runs and has what it preloads. */
async function opened(page: Page, path: string) {
  await page.goto(path);
  await alive(page);
  await page.waitForFunction(() => {
    const links = [...document.querySelectorAll<HTMLLinkElement>('link[rel=preload], link[rel=modulepreload]')];
    return links.every(({ href }) => performance.getEntriesByName(href).some((entry) => (entry as PerformanceResourceTiming).responseEnd > 0));
  });
}

for (const [path, budget] of Object.entries(BUDGETS)) {
  test(`a first visit of ${path} downloads at most ${budget} KiB of code`, async ({ page }) => {
    const files = await downloads(page);
    await opened(page, path);
    const preloaded = await page.locator('link[rel=preload], link[rel=modulepreload]').evaluateAll((links) => links.map((link) => new URL((link as HTMLLinkElement).href).pathname));
    await expect.poll(() => preloaded.filter((file) => !files.has(file))).toEqual([]);
    const code = [...files].filter(([file]) => /\.(js|wasm)$/.test(file));
    expect(code.filter(([, { encoding }]) => encoding !== 'br')).toEqual([]);
    const kib = code.reduce((sum, [, { bytes }]) => sum + bytes, 0) / 1024;
    console.log(`${path}: ${kib.toFixed(1)} KiB of code in ${code.length} files, ${(budget - kib).toFixed(1)} KiB left`);
    expect(kib).toBeLessThanOrEqual(budget);
  });

  test(`a second visit of ${path} downloads no file of the app again`, async ({ page }) => {
    await opened(page, path);
    const files = await downloads(page);
    await opened(page, path);
    expect([...files.keys()]).toEqual([]);
  });
}
