import type { Page } from '@playwright/test';
import type { Proxy } from '../fixtures/proxy';
import { BROKEN_CONNECTION, connected, expect, states, status, test } from '../fixtures/app';

// Heartbeats and pings are frequent, so that silence is noticed soon: after 2.5 heartbeat intervals on a stream, and
// with a pong 5 s overdue on a socket.
test.use({ tolerated: BROKEN_CONNECTION, flags: { 'heartbeat-ms': 500, 'client-ping-ms': 1_000 } });

const RECOVERS_WITHIN_MS = 10_000;

/**
 * Swallows every byte until the page has noticed; from then on new connections work. The pooled connections that the browser
 * keeps from loading the page are dead too, and it would use them first.
 */
async function loseTheWire(page: Page, wire: Proxy): Promise<void> {
  wire.swallow();
  await expect(status(page)).not.toHaveAttribute('data-state', 'open', { timeout: 10_000 });
  wire.pass();
}

test('an event stream that falls silent is replaced, and what was missed is replayed', async ({ page, wire }) => {
  await page.goto(`${wire.url}/ticker`);
  await connected(page);
  await loseTheWire(page, wire);
  await connected(page, RECOVERS_WITHIN_MS);
  await expect(page.getByTestId('recovered')).toHaveText(/^recovered [1-9]\d* events$/);
  const prices = await page.getByTestId('price').allTextContents();
  await expect.poll(() => page.getByTestId('price').allTextContents()).not.toEqual(prices);
});

test('a job that falls silent is replaced, and its end arrives', async ({ page, wire }) => {
  await page.goto(`${wire.url}/progress`);
  await page.getByTestId('steps').fill('60');
  await page.getByTestId('step-ms').fill('500');
  await page.getByTestId('start').click();
  await connected(page);
  await loseTheWire(page, wire);
  await connected(page, RECOVERS_WITHIN_MS);
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done', { timeout: 30_000 });
  await expect(page.getByTestId('job-numbers')).toContainText('60 of 60 steps');
});

test('a socket that falls silent is replaced, and no message sent meanwhile is lost or doubled', async ({ visit, wire }) => {
  const { page: ada } = await visit('Ada', `${wire.url}/chat`);
  // Grace's connection is not damaged.
  const { page: grace } = await visit('Grace', '/chat');
  await connected(ada);
  await connected(grace);
  const say = async (page: Page, text: string) => {
    await page.getByTestId('composer').fill(text);
    await page.getByTestId('send').click();
  };
  await say(ada, 'Before');
  await expect(grace.getByTestId('message-text')).toHaveText(['Before']);

  wire.swallow();
  await say(ada, 'Into the void');
  await say(grace, 'Can you hear me?');
  await expect(grace.getByTestId('message-text')).toHaveText(['Before', 'Can you hear me?']);
  await expect(ada.getByTestId('unsent')).toHaveText('1 unsent');
  await expect(status(ada)).not.toHaveAttribute('data-state', 'open', { timeout: 10_000 });
  wire.pass();
  await connected(ada, RECOVERS_WITHIN_MS);
  for (const page of [ada, grace]) {
    await expect(page.getByTestId('message-text')).toHaveText(['Before', 'Can you hear me?', 'Into the void']);
    await expect(page.getByTestId('member')).toHaveCount(2);
  }
  await expect(ada.getByTestId('unsent')).toHaveCount(0);
});

test('a board that falls silent is replaced, and pointers move again', async ({ visit, wire }) => {
  const { page: ada } = await visit('Ada', `${wire.url}/collab`);
  const { page: grace } = await visit('Grace', '/collab');
  await connected(ada);
  await connected(grace);
  await loseTheWire(ada, wire);
  await connected(ada, RECOVERS_WITHIN_MS);
  const box = (await grace.getByTestId('board').boundingBox())!;
  await grace.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await expect(ada.locator('[data-test=pointer][data-name=Grace]')).toHaveAttribute('x', /^(49\.|50)/);
});

test.describe('with heartbeats too rare to be missed in time', () => {
  test.use({ flags: {} });

  test('a cut is noticed at once and recovered without loss', async ({ page, wire }) => {
    await page.goto(`${wire.url}/ticker`);
    await connected(page);
    const seen = await states(status(page));
    wire.cut();
    await expect.poll(seen).toContain('waiting');
    await connected(page, RECOVERS_WITHIN_MS);
    await expect(page.getByTestId('recovered')).toHaveText(/^recovered [1-9]\d* events$/);
  });
});

test('offline at most one attempt is made in half a minute; back online it reconnects at once', async ({ page, context, wire, server }) => {
  await page.goto(`${wire.url}/ticker`);
  await connected(page);
  await context.setOffline(true);
  wire.cut();
  await expect(status(page)).toHaveAttribute('data-state', 'offline', { timeout: RECOVERS_WITHIN_MS });
  await expect(page.getByTestId('status-words')).toHaveText(/^Offline\./);
  await expect.poll(() => server.openConnections('ticker')).toBe(0);
  await context.setOffline(false);
  await connected(page, 2_000);
});
