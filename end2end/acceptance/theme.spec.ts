import type { Page } from '@playwright/test';
import { connected, expect, openGuide, test } from '../fixtures/app';

const DARK = 'rgb(16, 19, 23)';
const LIGHT = 'rgb(246, 247, 249)';

function theme(page: Page, name: string) {
  return page.getByRole('form', { name: 'Theme' }).getByRole('button', { name });
}

async function expectGround(page: Page, color: string): Promise<void> {
  await expect(page.locator('body')).toHaveCSS('background-color', color);
}

test('the system decides until the user does', async ({ page }) => {
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.goto('/');
  await expectGround(page, DARK);
  await expect(theme(page, 'As the system')).toHaveAttribute('aria-pressed', 'true');
  await page.emulateMedia({ colorScheme: 'light' });
  await expectGround(page, LIGHT);
});

test('a choice applies at once, after a reload, on other pages, and until it is reset', async ({ page }) => {
  await page.goto('/ticker');
  await connected(page);
  await expectGround(page, LIGHT);
  await theme(page, 'Dark').click();
  await expectGround(page, DARK);
  await expect(theme(page, 'Dark')).toHaveAttribute('aria-pressed', 'true');
  await page.reload();
  await expectGround(page, DARK);
  await page.goto('/chat');
  await connected(page);
  await expectGround(page, DARK);
  await theme(page, 'As the system').click();
  await expectGround(page, LIGHT);
  await page.reload();
  await expectGround(page, LIGHT);
  // Chromium logs a warning when a page is left while its socket is being opened.
  await connected(page);
});

test('a chosen theme is in the page that the server sends, so that none flashes', async ({ page, context, request, baseURL }) => {
  await page.goto('/');
  // Before hydration the page shows what the server rendered.
  await context.addCookies([{ name: 'wirewise_theme', value: 'dark', url: baseURL! }]);
  const html = await (await context.request.get('/')).text();
  expect(html).toMatch(/<html[^>]* data-theme="dark"/);
  const bars = html.matchAll(/name="theme-color"[^>]*content="(\S+)"/g);
  expect([...bars].map((bar) => bar[1])).toEqual(['#181c21', '#181c21']);
  expect(await (await request.get('/')).text()).not.toContain('data-theme');
  for (const value of ['neon', '"><script>alert(1)</script>', '']) {
    const html = await (await request.get('/', { headers: { cookie: `wirewise_theme=${value}` } })).text();
    expect(html).not.toContain('data-theme');
  }
});

test('the bars of the browser have the colour of the header', async ({ page }) => {
  await openGuide(page);
  const bars = page.locator('meta[name=theme-color]');
  await expect(bars).toHaveCount(2);
  await expect(page.locator('meta[name=theme-color][media*=dark]')).toHaveAttribute('content', '#181c21');
  await theme(page, 'Light').click();
  await expect(page.locator('meta[name=theme-color][media*=dark]')).toHaveAttribute('content', '#ffffff');
  await expect(page.locator('header.site')).toHaveCSS('background-color', 'rgb(255, 255, 255)');
});

test('an unknown theme is refused in words', async ({ request }) => {
  const refused = await request.post('/api/theme', { form: { theme: 'neon' } });
  expect(refused.status()).toBe(422);
  expect(await refused.json()).toEqual({ error: 'A theme is "system", "light" or "dark".', field: 'theme' });
  expect((await request.post('/api/theme', { form: { theme: 'dark' } })).status()).toBe(204);
});

test.describe('without JavaScript', () => {
  test.use({ javaScriptEnabled: false });

  test('the switch leads back to the page, in the chosen theme', async ({ page }) => {
    await page.goto('/ticker?chart=BOLT');
    await expectGround(page, LIGHT);
    await theme(page, 'Dark').click();
    await expect(page).toHaveURL('/ticker?chart=BOLT');
    await expectGround(page, DARK);
    await theme(page, 'As the system').click();
    await expectGround(page, LIGHT);
  });
});

test('every page describes itself in its head, with a picture at an absolute address', async ({ page, baseURL }) => {
  const seen = new Set<string | null>();
  for (const path of ['/', '/ticker', '/progress', '/chat', '/collab', '/nothing-here']) {
    const html = await (await page.request.get(path)).text();
    const content = (attribute: string) => html.match(new RegExp(`<meta [^>]*${attribute}"[^>]*content="([^"]*)"|<meta [^>]*content="([^"]*)"[^>]*${attribute}"`))?.slice(1).find(Boolean) ?? null;
    expect(html).toMatch(/<title>[^<]*Wirewise<\/title>/);
    expect(content('name="description')).toBeTruthy();
    expect(content('property="og:description')).toBe(content('name="description'));
    expect(content('property="og:image')).toBe(`${baseURL}/og.png`);
    seen.add(content('property="og:title'));
    seen.add(content('name="description'));
  }
  expect(seen.size).toBe(12);
  const picture = await page.request.get('/og.png');
  expect(picture.headers()['content-type']).toBe('image/png');
});
