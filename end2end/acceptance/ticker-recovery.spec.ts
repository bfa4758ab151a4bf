import type { Page } from '@playwright/test';
import { BROKEN_CONNECTION, connected, expect, status, test } from '../fixtures/app';

test.use({ tolerated: BROKEN_CONNECTION, flags: { 'heartbeat-ms': 1_000 } });

/** How long the connection carries nothing. */
const BLOCKED_MS = 5_000;

function recovered(page: Page): Promise<number> {
  return page.getByTestId('recovered').textContent().then((text) => Number(text!.match(/^recovered (\d+) events$/)![1]));
}

test('the network is blocked for five seconds, and the page recovers as many events as the server counts', async ({ page, wire, server, behind }) => {
  await page.goto(`${wire.url}/ticker`);
  await connected(page);
  await expect(page.getByTestId('received')).not.toHaveAttribute('data-count', '0');
  await expect(page.getByTestId('recovered')).toHaveCount(0);
  const before = await server.metric('wirewise_replayed_events');

  wire.swallow();
  // The test waits for the blockade itself.
  await page.waitForTimeout(BLOCKED_MS);
  await expect(status(page)).not.toHaveAttribute('data-state', 'open');
  wire.pass();
  // An attempt that began during the blockade is aborted after its 10 s. Over HTTP/2, which a reverse proxy speaks, the next one
  // uses the dead connection too, until the browser gives that up.
  await connected(page, behind ? 40_000 : 20_000);
  await expect(page.getByTestId('recovered')).toBeVisible();

  const count = await recovered(page);
  // Two rounds a second, some eleven prices each.
  expect(count).toBeGreaterThan(50);
  expect((await server.metric('wirewise_replayed_events')) - before).toBe(count);
  // Every offset is one event: none is missing and none was received twice.
  const numbers = () => page.getByTestId('received').evaluate((note) => ['data-count', 'data-from', 'data-at'].map((name) => note.getAttribute(name)!));
  await expect(async () => {
    const [count, from, at] = await numbers();
    expect(Number(count)).toBe(Number(at.split('-')[1]) - Number(from));
  }).toPass();
});
