import { BROKEN_CONNECTION, connected, expect, test } from '../fixtures/app';
import { say } from '../fixtures/chat';
import { editable, typeAt } from '../fixtures/collab';

test.use({ flags: { 'heartbeat-ms': 1_000, 'client-ping-ms': 1_000 } });

test('the panel is folded at first, and counts all the same', async ({ page }) => {
  await page.goto('/ticker');
  await connected(page);
  await expect(page.getByTestId('inspector-toggle')).toHaveAttribute('aria-expanded', 'false');
  await expect(page.getByTestId('frame')).toHaveCount(0);
  await expect(page.getByTestId('inspector-summary')).toHaveText(/^[1-9][\d,]* in · 0 out · [\d.]+ (B|KiB|MiB)$/);
});

test.describe('unfolded while the connection is cut', () => {
  test.use({ tolerated: new RegExp(`${BROKEN_CONNECTION.source}|Failed to fetch`) });

  test('the panel says so, and opens after the connection recovers', async ({ page, context }) => {
    await page.goto('/ticker');
    await connected(page);
    await context.setOffline(true);
    await page.getByTestId('inspector-toggle').click();
    await expect(page.getByTestId('awaited-page')).toHaveText(/could not be loaded/);
    await expect(page.getByTestId('frame-filter')).toHaveCount(0);
    await context.setOffline(false);
    await expect(page.getByTestId('frame-filter')).toBeVisible();
    await expect(page.getByTestId('awaited-page')).toBeEmpty();
    await connected(page);
  });
});

test('an event is shown with its fields, filtered, paused and cleared', async ({ page }) => {
  await page.goto('/ticker');
  await connected(page);
  await page.getByTestId('inspector-toggle').click();
  await page.getByTestId('frame-filter').selectOption('heartbeat');
  await expect(page.getByTestId('frame-kind').first()).toHaveText('heartbeat');
  const kinds = await page.getByTestId('frame-kind').allTextContents();
  expect(new Set(kinds)).toEqual(new Set(['heartbeat']));

  await page.getByTestId('frame-pause').click();
  const paused = await page.getByTestId('frame').count();
  const beats = () => page.getByTestId('count-heartbeats').textContent().then(Number);
  const before = await beats();
  await expect.poll(beats).toBeGreaterThan(before);
  await expect(page.getByTestId('frame')).toHaveCount(paused);

  await page.getByTestId('frame').first().click();
  await expect(page.getByTestId('frame-whole')).toContainText(/id: [0-9a-z]+-\d+\nevent: heartbeat\ndata: \{"type":"heartbeat"/);
  await page.getByTestId('frame-clear').click();
  await expect(page.getByTestId('frame')).toHaveCount(0);
  await page.getByTestId('frame-pause').click();
  await expect(page.getByTestId('frame').first()).toBeVisible();
});

test('the copied text is the shown text', async ({ page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.goto('/ticker');
  await connected(page);
  await page.getByTestId('inspector-toggle').click();
  await page.getByTestId('frame-filter').selectOption('hello');
  await page.getByTestId('frame').first().click();
  await page.getByTestId('frame-copy').click();
  await expect(page.getByTestId('frame-copied')).toHaveText('Copied');
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect(copied).toMatch(/^(id: .*\n)?event: hello\ndata: \{"type":"hello"/);
});

test('the raw tab shows the bytes, comment and retry included', async ({ page, server }) => {
  await page.goto('/ticker');
  await connected(page);
  await page.getByTestId('inspector-toggle').click();
  await page.getByTestId('inspector-raw').click();
  await expect(page.getByTestId('raw')).toContainText(/: wirewise ticker\nretry: 2000\n(id: .*\n)?event: hello\n/);
  await expect(page.getByTestId('raw')).toContainText('event: heartbeat');
  // The raw tab opens a stream of its own, which is closed with the tab.
  await expect.poll(() => server.openConnections('ticker')).toBe(2);
  await page.getByTestId('inspector-frames').click();
  await expect.poll(() => server.openConnections('ticker')).toBe(1);
});

test('both handshakes stand side by side, without the secret', async ({ page, context }) => {
  await page.goto('/ticker');
  await connected(page);
  await page.getByTestId('inspector-toggle').click();
  await page.getByTestId('inspector-handshakes').click();
  const [own, other] = [page.getByTestId('handshake-own'), page.getByTestId('handshake-other')];
  await expect(own).toContainText('GET /api/ticker/events');
  await expect(own).toContainText('content-type: text/event-stream');
  await expect(own).toContainText('cookie: (blanked)');
  await expect(other).toContainText('sec-websocket-key: ');
  await expect(other).toContainText('HTTP/1.1 101 Switching Protocols');
  const [session] = await context.cookies();
  expect(await page.getByTestId('inspector').textContent()).not.toContain(session.value);
});

test('a socket shows both directions and its round trips', async ({ page }) => {
  await page.goto('/chat');
  await connected(page);
  await page.getByTestId('inspector-toggle').click();
  await say(page, 'Hello, wire');
  await page.getByTestId('frame-filter').selectOption('send');
  await expect(page.getByTestId('frame').first()).toContainText('Hello, wire');
  await expect(page.getByTestId('frame').first()).toHaveAttribute('data-direction', 'out');
  await page.getByTestId('frame-filter').selectOption('ack');
  await expect(page.getByTestId('frame').first()).toHaveAttribute('data-direction', 'in');
  await expect(page.getByTestId('count-round-trip')).toHaveText(/^\d+ ms$/);
  await page.getByTestId('inspector-handshakes').click();
  await expect(page.getByTestId('handshake-own')).toContainText('sec-websocket-protocol: wirewise.chat.v1');
  await expect(page.getByTestId('handshake-other')).toContainText('GET /api/compare/events');
});

test('binary frames are described in words, and shown in hexadecimal', async ({ page }) => {
  await page.goto('/collab');
  await editable(page);
  await page.getByTestId('inspector-toggle').click();
  await typeAt(page, 0, 'x');
  await page.getByTestId('frame-filter').selectOption('binary');
  await page.getByTestId('frame-pause').click();
  // An edit and a caret are among them.
  const said: string[] = [];
  for (const frame of await page.getByTestId('frame').all()) {
    await frame.click();
    said.push((await page.getByTestId('frame-described').textContent())!);
    await expect(page.getByTestId('frame-whole')).toContainText(/[0-9a-f]{2} [0-9a-f]{2}/);
  }
  expect(said.join('\n')).toMatch(/sync update: an edit of \d+ bytes/);
  expect(said.join('\n')).toMatch(/awareness: who is there\n {2}client \d+ at clock \d+: \{/);
});
