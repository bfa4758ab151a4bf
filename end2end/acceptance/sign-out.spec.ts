import type { BrowserContext, Page } from '@playwright/test';
import { alive, BROKEN_CONNECTION, connected, expect, status, test } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';
import { editable, text } from '../fixtures/collab';
import { startCountdown } from '../fixtures/jobs';

// Pings are frequent, so that a silent connection is noticed soon.
test.use({ tolerated: BROKEN_CONNECTION, flags: { 'client-ping-ms': 1_000 } });

/** Another tab of the same browser, connected. */
async function tab(context: BrowserContext, path: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(path);
  await connected(page);
  return page;
}

/** The user that the server identifies for the browser; `undefined` without a session. */
async function session(context: BrowserContext): Promise<string | undefined> {
  return (await context.cookies()).find((cookie) => cookie.name === 'wirewise_session')?.value;
}

async function whoAsks(page: Page): Promise<string> {
  return page.evaluate(async () => (await (await fetch('/api/session/guest', { method: 'POST' })).json()).user.id);
}

async function rename(page: Page, name: string): Promise<void> {
  await page.getByTestId('name').fill(name);
  await page.getByTestId('name-form').getByRole('button').click();
}

test('signing out ends the sockets of every tab, each shows it, and none gets a new guest by itself', async ({ visit }) => {
  const { page: chat, context, user } = await visit('Ada', '/chat');
  await connected(chat);
  const collab = await tab(context, '/collab');
  await editable(collab);
  // A page without a socket, which needs no session.
  const ticker = await tab(context, '/ticker');
  await ticker.getByTestId('sign-out').click();
  for (const page of [ticker, chat, collab]) {
    await expect(page.getByTestId('signed-out')).toContainText('You signed out.');
    await expect(page.getByTestId('name')).toHaveCount(0);
  }
  for (const page of [chat, collab]) await expect(status(page)).toHaveAttribute('data-state', 'stopped');
  await expect(chat.getByTestId('status-words')).toHaveText('You signed out.');
  await expect(status(ticker)).toHaveAttribute('data-state', 'open');
  // A message without a user is not accepted.
  await chat.getByTestId('composer').fill('Who says this?');
  await chat.getByTestId('send').click();
  await expect(chat.getByTestId('chat-refusal')).toContainText('You signed out.');
  await expect(chat.getByTestId('composer')).toHaveValue('Who says this?');
  await expect(text(collab)).not.toBeEditable();
  expect(await session(context)).toBeUndefined();

  await chat.getByTestId('continue-as-guest').click();
  await connected(chat);
  await expect(chat.getByTestId('signed-out')).toHaveCount(0);
  const guest = await whoAsks(chat);
  expect(guest).not.toBe(user.id);
  // Each tab continues when its user confirms, as the same guest.
  await expect(collab.getByTestId('signed-out')).toBeVisible();
  await collab.getByTestId('continue-as-guest').click();
  await connected(collab);
  expect(await whoAsks(collab)).toBe(guest);
  await expect(ticker.getByTestId('signed-out')).toBeVisible();
});

test('a signed-out tab that retries becomes the new guest of the other tabs', async ({ visit }) => {
  const { page: chat, context } = await visit('Ada', '/chat');
  await connected(chat);
  await chat.getByTestId('composer').fill('Half a sen');
  const ticker = await tab(context, '/ticker');
  await ticker.getByTestId('sign-out').click();
  await expect(status(chat)).toHaveAttribute('data-state', 'stopped');
  await ticker.getByTestId('continue-as-guest').click();
  await expect(ticker.getByTestId('name')).not.toHaveValue('Ada');
  await chat.getByTestId('retry-now').click();
  await expect(chat.getByTestId('name')).toHaveValue(await ticker.getByTestId('name').inputValue());
  await connected(chat);
  await expect(chat.getByTestId('composer')).toHaveValue('');
});

test.describe('a page with a private stream and no socket', () => {
  // The page asks why its stream was refused.
  test.use({ tolerated: new RegExp(`${BROKEN_CONNECTION.source}|status of 401`) });

  test('says that its person signed out, and makes no guest by itself', async ({ visit }) => {
    const { page: job, context } = await visit('Ada', '/progress');
    await alive(job);
    await startCountdown(job, 1_000, 1_000);
    await connected(job);
    const before = await session(context);
    // By a program that has the same session: this browser keeps its cookie, and no tab hears of it.
    const signOut = new URL('/api/session/sign_out', job.url());
    const signedOut = await fetch(signOut, { method: 'POST', headers: { cookie: `wirewise_session=${before}` } });
    expect(signedOut.status).toBe(200);
    await expect(status(job)).toHaveAttribute('data-state', 'stopped');
    await expect(job.getByTestId('status-words')).toHaveText('You signed out.');
    await expect(job.getByTestId('signed-out')).toBeVisible();
    expect(await session(context)).toBe(before);
  });

  test('says that its session is gone, and makes no guest by itself', async ({ visit, wire }) => {
    const { page: job, context } = await visit('Ada', `${wire.url}/progress`);
    await alive(job);
    await startCountdown(job, 1_000, 1_000);
    await connected(job);
    await context.clearCookies();
    wire.cut();
    await expect(status(job)).toHaveAttribute('data-state', 'stopped', { timeout: 20_000 });
    await expect(job.getByTestId('status-words')).toHaveText('There is no session. Reload the page to get one.');
    expect(await session(context)).toBeUndefined();
  });
});

test('renamed in one tab, the other tabs and their sockets follow', async ({ visit }) => {
  const { page: chat, context } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  await connected(chat);
  await connected(grace);
  const collab = await tab(context, '/collab');
  const ticker = await tab(context, '/ticker');
  const second = await tab(context, '/ticker');
  await rename(ticker, 'Countess');
  for (const page of [chat, collab, second]) await expect(page.getByTestId('name')).toHaveValue('Countess');
  const there = grace.getByTestId('members').getByTestId('member');
  await expect(there.filter({ hasText: 'Countess' })).toHaveCount(1);
  await expect(there).toHaveCount(2);
  await connected(chat);
  await say(chat, 'It is still me');
  await expect(grace.getByTestId('message')).toContainText(['Countess']);
  // Renamed back, from a tab with a socket.
  await rename(collab, 'Ada');
  for (const page of [chat, ticker, second]) await expect(page.getByTestId('name')).toHaveValue('Ada');
  await expect(there.filter({ hasText: 'Ada' })).toHaveCount(1);
  await chat.reload();
  await connected(chat);
  await expect(chat.getByTestId('name')).toHaveValue('Ada');
});

test.describe('in a browser without messages between tabs', () => {
  test('the server notifies the tabs that have a socket', async ({ visit }) => {
    const { page: chat, context } = await visit('Ada', '/chat');
    await connected(chat);
    await context.addInitScript(() => {
      Object.defineProperty(window, 'BroadcastChannel', { value: undefined });
      Object.defineProperty(window, 'localStorage', { get: () => { throw new DOMException('denied', 'SecurityError'); } });
    });
    const ticker = await tab(context, '/ticker');
    await rename(ticker, 'Countess');
    await expect(chat.getByTestId('name')).toHaveValue('Countess');
    await connected(chat);
    await ticker.getByTestId('sign-out').click();
    await expect(chat.getByTestId('signed-out')).toBeVisible();
    await expect(status(chat)).toHaveAttribute('data-state', 'stopped');
  });
});

test('unsent messages of one user are never sent by the next user of the same tab', async ({ visit, wire }) => {
  const { page: chat, context } = await visit('Ada', `${wire.url}/chat/den`);
  const { page: grace } = await visit('Grace', '/chat/den');
  await connected(chat);
  await connected(grace);
  wire.swallow();
  await say(chat, 'Into the void');
  await expect(chat.getByTestId('unsent')).toHaveText('1 unsent');
  await chat.getByTestId('composer').fill('Half a sen');
  // Another user signs in at the same browser, and uses the same tab.
  const next = await context.request.post('/api/session/sign_out').then(() => context.request.post('/api/session/sign_in', { form: { name: 'Eve' } }));
  expect(next.status()).toBe(200);
  wire.pass();
  wire.cut();
  await chat.reload();
  await connected(chat);
  await expect(chat.getByTestId('name')).toHaveValue('Eve');
  await expect(chat.getByTestId('sending')).toHaveCount(0);
  await expect(chat.getByTestId('composer')).toHaveValue('');
  // Any waiting message would be sent before this one, because both have the same ordering key.
  await say(chat, 'I am Eve');
  await expect(texts(grace)).toHaveText(['I am Eve']);
});

test('unsaved text of one user is never saved by the next user of the same tab', async ({ visit, wire }) => {
  const { page: collab, context } = await visit('Ada', `${wire.url}/collab/den`);
  await connected(collab);
  await editable(collab);
  wire.swallow();
  await text(collab).fill('Into the void');
  await expect.poll(() => collab.evaluate(() => Object.keys(sessionStorage).some((key) => key.includes('collab.unsaved.den')))).toBe(true);
  await context.request.post('/api/session/sign_out');
  await context.request.post('/api/session/sign_in', { form: { name: 'Eve' } });
  wire.pass();
  wire.cut();
  await collab.reload();
  await connected(collab);
  await editable(collab);
  await expect(collab.getByTestId('name')).toHaveValue('Eve');
  await expect(text(collab)).toHaveValue('');
});

test('if the tab storage is full, chat and collab warn that unsent text will not survive a reload', async ({ visit, wire }) => {
  const fill = (page: Page) =>
    page.evaluate(() => {
      for (let size = 1 << 22; size > 0; size >>= 1) {
        for (let number = 0; ; number++) {
          try {
            sessionStorage.setItem(`filler-${size}-${number}`, 'x'.repeat(size));
          } catch {
            break;
          }
        }
      }
    });
  const { page: chat, context } = await visit('Ada', `${wire.url}/chat`);
  await connected(chat);
  const collab = await tab(context, `${wire.url}/collab`);
  await editable(collab);
  await fill(chat);
  await fill(collab);
  wire.swallow();
  await chat.getByTestId('composer').fill('Half a sen');
  await expect(chat.getByTestId('no-room')).toContainText('will not survive a reload');
  await chat.getByTestId('send').click();
  await expect(chat.getByTestId('no-room')).toContainText('unsent messages');
  await text(collab).fill('Not saved');
  await expect(collab.getByTestId('text-refusal')).toContainText('will not survive a reload');
  wire.pass();
  wire.cut();
  await expect(texts(chat)).toHaveText(['Half a sen'], { timeout: 20_000 });
  await expect(chat.getByTestId('no-room')).toHaveCount(0);
});
