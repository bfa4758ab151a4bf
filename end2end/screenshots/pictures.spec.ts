import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from '../fixtures/app';

const REPOSITORY = join(__dirname, '../..');
const PUBLIC = join(REPOSITORY, 'public');

test('the picture of link previews', async ({ page }) => {
  await page.setViewportSize({ width: 1200, height: 630 });
  await page.goto(pathToFileURL(join(REPOSITORY, 'tools/og.html')).href);
  await expect(page.locator('body')).toHaveCSS('background-color', 'rgb(16, 19, 23)');
  await page.screenshot({ path: join(PUBLIC, 'og.png') });
});

test('the icon on the home screen of a phone', async ({ page }) => {
  const icon = readFileSync(join(PUBLIC, 'favicon.svg'), 'utf8');
  await page.setViewportSize({ width: 180, height: 180 });
  // Phones round the corners, and fill transparent areas with black.
  await page.setContent(`<style>body { display: grid; place-items: center; height: 100vh; margin: 0; background: white } svg { width: 132px }</style>${icon}`);
  await page.screenshot({ path: join(PUBLIC, 'apple-touch-icon.png') });
});
