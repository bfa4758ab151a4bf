import type { Page } from '@playwright/test';
import { connected, expect, markDocument, pageLink, sameDocument, test } from '../fixtures/app';
import { JOB_URL } from '../fixtures/jobs';
import type { Endpoint } from '../fixtures/server';

const pages: [Endpoint, (page: Page) => Promise<unknown>][] = [
  ['ticker', (page) => page.goto('/ticker')],
  ['job', startLongJob],
  ['chat', (page) => page.goto('/chat')],
  ['collab', (page) => page.goto('/collab')],
];

async function startLongJob(page: Page): Promise<void> {
  await page.goto('/progress');
  await page.getByTestId('steps').fill('1000');
  await page.getByTestId('start').click();
  await expect(page).toHaveURL(JOB_URL);
}

for (const [endpoint, open] of pages) {
  test(`leaving the page by the router closes its connection: ${endpoint}`, async ({ page, server }) => {
    await open(page);
    await connected(page);
    expect(await server.openConnections(endpoint)).toBe(1);

    // A new document would close the connections whatever the page does.
    await markDocument(page);
    await page.locator('header').getByRole('link', { name: 'Wirewise' }).click();
    await expect(page).toHaveURL('/');
    await expect.poll(() => server.openConnections(endpoint)).toBe(0);

    await page.goBack();
    await connected(page);
    await expect.poll(() => server.openConnections(endpoint)).toBe(1);
    expect(await sameDocument(page)).toBe(true);
  });

  test(`closing the window closes its connection: ${endpoint}`, async ({ page, server }) => {
    await open(page);
    await connected(page);
    expect(await server.openConnections(endpoint)).toBe(1);
    await page.close();
    await expect.poll(() => server.openConnections(endpoint)).toBe(0);
  });
}

test('from page to page there is one connection at a time', async ({ page, server }) => {
  const all: Endpoint[] = ['ticker', 'chat', 'collab'];
  const counts = () => Promise.all(all.map((endpoint) => server.openConnections(endpoint)));
  await page.goto('/ticker');
  for (const [index, name] of ['Ticker', 'Chat', 'Collab', 'Ticker'].entries()) {
    await pageLink(page, name).click();
    await connected(page);
    await expect.poll(counts).toEqual(all.map((_, place) => (place === index % 3 ? 1 : 0)));
  }
});
