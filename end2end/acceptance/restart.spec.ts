import type { Page } from '@playwright/test';
import { BACK_WITHIN_MS, BROKEN_CONNECTION, connected, expect, states, status, test } from '../fixtures/app';

// The pages log that the server is unreachable, as they should.
test.use({ tolerated: BROKEN_CONNECTION });

async function say(page: Page, text: string): Promise<void> {
  await page.getByTestId('composer').fill(text);
  await page.getByTestId('send').click();
}

/** Resolves when the page has begun its nth attempt from now on. */
function attempts(page: Page, count: number): Promise<void> {
  return status(page).evaluate(
    (line, count) =>
      new Promise<void>((enough) => {
        let begun = 0;
        const look = () => line.getAttribute('data-state') === 'connecting' && ++begun === count && enough();
        new MutationObserver(look).observe(line, { attributeFilter: ['data-state'] });
      }),
    count,
  );
}

test('every page recovers by itself after a restart, with nothing doubled', async ({ visit, server }) => {
  // Five browsers, and reconnect delays that grow to their limit.
  test.setTimeout(120_000);
  const { page: ticker } = await visit('Watcher', '/ticker');
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  const { page: left } = await visit('Left', '/collab');
  const { page: right } = await visit('Right', '/collab');
  const pages = [ticker, ada, grace, left, right];
  for (const page of pages) await connected(page);
  await say(ada, 'Before');
  await expect(grace.getByTestId('message-text')).toHaveText(['Before']);

  await server.stop();
  for (const page of pages) await expect(status(page)).not.toHaveAttribute('data-state', 'open');
  // The server is stopped long enough for the delays to grow to their limit.
  await Promise.all(pages.map((page) => attempts(page, 4)));
  await say(grace, 'Written while it was away');
  await expect(grace.getByTestId('unsent')).toHaveText('1 unsent');

  await server.start();
  await Promise.all(pages.map((page) => connected(page, BACK_WITHIN_MS)));

  await expect(ticker.getByTestId('price-row')).toHaveCount(24);
  const price = await ticker.getByTestId('price').allTextContents();
  await expect.poll(() => ticker.getByTestId('price').allTextContents()).not.toEqual(price);

  // The earlier messages are still there; waiting messages arrive once, after them.
  await say(ada, 'After');
  for (const page of [ada, grace]) {
    await expect(page.getByTestId('message-text')).toHaveText(['Before', 'Written while it was away', 'After']);
    await expect(page.getByTestId('sending')).toHaveCount(0);
    await expect(page.getByTestId('member')).toHaveCount(2);
  }
  await expect(grace.getByTestId('unsent')).toHaveCount(0);
  for (const page of [left, right]) {
    await expect(page.getByTestId('here')).toHaveText('2 here');
    await expect(page.getByTestId('peer')).toHaveCount(1);
  }
  expect(await server.openConnections('ticker')).toBe(1);
  expect(await server.openConnections('chat')).toBe(2);
  expect(await server.openConnections('collab')).toBe(2);
});

test('all pages recover from a quick restart too, each after the delay it was given', async ({ visit, server }) => {
  const { page: ticker } = await visit('Watcher', '/ticker');
  const { page: chat } = await visit('Ada', '/chat');
  const { page: collab } = await visit('Left', '/collab');
  const pages = [ticker, chat, collab];
  for (const page of pages) await connected(page);
  const seen = await Promise.all(pages.map((page) => states(status(page))));
  await server.restart();
  // The delay precedes the first attempt.
  for (const states of seen) await expect.poll(async () => (await states())[0]).toBe('waiting');
  await Promise.all(pages.map((page) => connected(page, BACK_WITHIN_MS)));
});

test('a job that the restart interrupted has failed, and its page says so', async ({ page, server, nodes }) => {
  await page.goto('/progress');
  await page.getByTestId('steps').fill('1000');
  await page.getByTestId('start').click();
  await connected(page);
  await server.restart();
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Failed', { timeout: BACK_WITHIN_MS });
  // In a cluster the node ends its jobs while it shuts down. Alone it finds them when it starts again.
  await expect(page.getByTestId('job-outcome')).toHaveText(nodes === 1 ? /The server restarted/ : /The server that ran this job shut down/);
  await expect(status(page)).toHaveAttribute('data-state', 'closed');
});

test('the status line counts down in words, and "retry now" does not wait', async ({ page, server }) => {
  await page.goto('/ticker');
  await connected(page);
  await expect(page.getByTestId('status-words')).toHaveText('Connected');
  await expect(page.getByTestId('retry-now')).toHaveCount(0);
  await server.stop();
  await attempts(page, 3);
  await expect(page.getByTestId('status-words')).toHaveText(/^Connection lost\. Retrying in \d+ s$/);
  await server.start();
  // The delay is at least 2 s by now.
  await page.getByTestId('retry-now').click();
  await connected(page, 1_000);
});

test('sessions survive a restart: a name, a person', async ({ visit, server }) => {
  const { page, context, user } = await visit('Ada', '/ticker');
  // The page has finished loading its code.
  await connected(page);
  await server.restart();
  await page.goto('/ticker');
  await expect(page.getByTestId('name')).toHaveValue('Ada');
  const again = await context.request.post('/api/session/sign_in', { form: { name: 'Ada' } });
  expect((await again.json()).user.id).toBe(user.id);
});
