import type { Page } from '@playwright/test';
import { alive, BROKEN_CONNECTION, connected, expect, test } from '../fixtures/app';
import { texts } from '../fixtures/chat';
import { JOB_URL, startCountdown } from '../fixtures/jobs';

/** Counts the POST requests of the page to this path from now on. */
function posts(page: Page, path: string): () => number {
  let count = 0;
  page.on('request', (request) => {
    if (request.method() === 'POST' && new URL(request.url()).pathname.startsWith(path)) count += 1;
  });
  return () => count;
}

/** Presses Enter twice with this many milliseconds between, by the time that the events carry: a busy machine changes nothing. */
async function enterTwice(page: Page, between: number): Promise<void> {
  const devtools = await page.context().newCDPSession(page);
  const first = Date.now() / 1000;
  const key = { key: 'Enter', code: 'Enter', windowsVirtualKeyCode: 13 };
  for (const timestamp of [first, first + between / 1000]) {
    await devtools.send('Input.dispatchKeyEvent', { ...key, type: 'keyDown', text: '\r', timestamp });
    await devtools.send('Input.dispatchKeyEvent', { ...key, type: 'keyUp', timestamp });
  }
}

/** The jobs of the user as the server reports them. */
async function jobs(page: Page): Promise<unknown[]> {
  return (await page.request.get('/api/jobs')).json();
}

/** Expects one job. A second one would be listed by now. */
async function oneJob(page: Page): Promise<void> {
  await expect(page).toHaveURL(JOB_URL);
  await page.waitForLoadState('networkidle').catch(() => {});
  expect(await jobs(page)).toHaveLength(1);
}

async function openProgress(page: Page): Promise<void> {
  await page.goto('/progress');
  await alive(page);
}

test('a double click on "Start a countdown" starts one', async ({ page }) => {
  await openProgress(page);
  const sent = posts(page, '/api/jobs/start');
  await page.getByTestId('step-ms').fill('100');
  await page.getByTestId('start').dblclick();
  await oneJob(page);
  expect(sent()).toBe(1);
});

test('Enter twice in a field starts one countdown', async ({ page }) => {
  await openProgress(page);
  const sent = posts(page, '/api/jobs/start');
  const field = page.getByTestId('step-ms');
  await field.fill('100');
  await field.focus();
  await enterTwice(page, 300);
  await oneJob(page);
  expect(sent()).toBe(1);
});

test('while a start is under way no second one is sent, however long it takes', async ({ page }) => {
  await openProgress(page);
  const sent = posts(page, '/api/jobs/start');
  let release!: () => void;
  const released = new Promise<void>((done) => (release = done));
  await page.route('**/api/jobs/start', async (route) => {
    await released;
    await route.continue();
  });
  const start = page.getByTestId('start');
  await start.click();
  // Longer than the interval of any double click.
  await page.waitForTimeout(1_000);
  await start.click();
  release();
  await oneJob(page);
  expect(sent()).toBe(1);
});

test('another countdown is started by another click', async ({ page }) => {
  await openProgress(page);
  await startCountdown(page, 2, 50);
  const first = page.url();
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done');
  await page.waitForTimeout(700);
  await page.getByTestId('start').click();
  await expect(page).not.toHaveURL(first);
  expect(await jobs(page)).toHaveLength(2);
});

test('a double click on "Start the race" starts one', async ({ page }) => {
  await openProgress(page);
  await page.getByTestId('race-kind').locator('summary').click();
  await page.getByTestId('messages').fill('100');
  await page.getByTestId('rounds').fill('1');
  await page.getByTestId('start-race').dblclick();
  await oneJob(page);
});

test('a double click on "Send it" sends the file once', async ({ page }) => {
  await openProgress(page);
  const sent = posts(page, '/api/jobs/upload');
  await page.getByTestId('upload-kind').locator('summary').click();
  await page.getByTestId('file').setInputFiles({ name: 'تقرير.txt', mimeType: 'text/plain', buffer: Buffer.from('a line\n') });
  await page.getByTestId('upload').dblclick();
  await oneJob(page);
  expect(sent()).toBe(1);
});

test('a double click on "Cancel" cancels once, without a refusal', async ({ page }) => {
  await openProgress(page);
  await startCountdown(page, 1000, 1000);
  const sent = posts(page, '/api/jobs/cancel');
  await page.getByTestId('cancel').dblclick();
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Cancelled');
  expect(sent()).toBe(1);
});

test('a double click opens a room, and sends a message, once', async ({ page }) => {
  await page.goto('/chat');
  await connected(page);
  await page.getByTestId('new-room').fill('kitchen');
  await page.getByTestId('open-room').dblclick();
  await expect(page).toHaveURL('/chat/kitchen');
  await expect(page.getByTestId('room-refusal')).toBeEmpty();
  await page.getByTestId('composer').fill('Hello');
  await page.getByTestId('send').dblclick();
  await expect(texts(page)).toHaveText(['Hello']);
  await expect(page.getByTestId('chat-refusal')).toBeEmpty();
});

test.describe('where faults are allowed', () => {
  test.use({ flags: { 'allow-faults': 'true' }, tolerated: BROKEN_CONNECTION });

  test('a double click on a fault requests it once', async ({ page }) => {
    await page.goto('/ticker');
    await connected(page);
    await page.getByTestId('inspector-toggle').click();
    const sent = posts(page, '/api/faults');
    await page.getByTestId('fault-drop').dblclick();
    await expect(page.getByTestId('trial')).toHaveAttribute('data-state', 'done', { timeout: 20_000 });
    expect(sent()).toBe(1);
  });
});
