import type { Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';

/** The user that the server identifies for the browser; one with a session stays the same. */
function whoAsks(page: Page): Promise<string> {
  return page.evaluate(async () => (await (await fetch('/api/session/guest', { method: 'POST' })).json()).user.id);
}

test('a foreign cookie beyond ASCII does not hide the session: chat and collab connect, and a reload creates no other guest', async ({ page }) => {
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

test('a stale cookie of our name, for one path, does not hide the session', async ({ page, context, baseURL }) => {
  await page.goto('/chat');
  const before = await whoAsks(page);
  // The browser sends the cookie with the longer path first.
  await context.addCookies([{ name: 'wirewise_session', value: 'stale', domain: new URL(baseURL!).hostname, path: '/api' }]);
  await page.reload();
  await connected(page);
  expect(await whoAsks(page)).toBe(before);
});
