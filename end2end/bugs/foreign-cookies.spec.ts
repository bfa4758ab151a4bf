import type { Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';

/** Who the browser's requests are to the server: a visitor who has a session stays the same. */
function whoAsks(page: Page): Promise<string> {
  return page.evaluate(async () => (await (await fetch('/api/session/guest', { method: 'POST' })).json()).user.id);
}

test('a foreign cookie beyond ASCII hides nobody: chat and collab connect, and a reload makes no other guest', async ({ page }) => {
  await page.goto('/');
  const before = await whoAsks(page);
  await page.evaluate(() => {
    document.cookie = 'stadt=Köln; path=/';
    document.cookie = '城=市; path=/';
  });
  for (const path of ['/chat', '/collab']) {
    await page.goto(path);
    await connected(page);
    await page.reload();
    await connected(page);
    expect(await whoAsks(page)).toBe(before);
  }
});

test('a stale cookie of our name, of one path, hides nobody', async ({ page, context, baseURL }) => {
  await page.goto('/chat');
  const before = await whoAsks(page);
  // A longer path comes first.
  await context.addCookies([{ name: 'wirewise_session', value: 'stale', domain: new URL(baseURL!).hostname, path: '/api' }]);
  await page.reload();
  await connected(page);
  expect(await whoAsks(page)).toBe(before);
});
