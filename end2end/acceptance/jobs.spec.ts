import { createHash } from 'node:crypto';
import type { Page } from '@playwright/test';
import { connected, expect, pageLink, test } from '../fixtures/app';
import { JOB_URL, startCountdown } from '../fixtures/jobs';

/** Opens the page with the router, so that it is certainly hydrated. */
async function openHydrated(page: Page): Promise<void> {
  await page.goto('/ticker');
  await connected(page);
  await pageLink(page, 'Progress').click();
  await expect(page.getByTestId('start')).toBeVisible();
}

/** Bytes with a long period, so that a lost or doubled piece is detected. */
function file(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + (at >> 8) * 17) & 0xff;
  return bytes;
}

async function chooseFile(page: Page, name: string, buffer: Buffer): Promise<void> {
  await page.getByTestId('upload-kind').locator('summary').click();
  await page.getByTestId('file').setInputFiles({ name, mimeType: 'application/octet-stream', buffer });
}

async function dropFile(page: Page, name: string, text: string): Promise<void> {
  const dataTransfer = await page.evaluateHandle(([name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name));
    return data;
  }, [name, text]);
  await page.getByTestId('upload-form').dispatchEvent('drop', { dataTransfer });
}

test('a file is sent and its digests are those of its bytes', async ({ page }) => {
  const bytes = file(5_000_000);
  await openHydrated(page);
  await chooseFile(page, 'report.bin', bytes);
  await page.getByTestId('upload').click();
  await expect(page).toHaveURL(JOB_URL);
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done', { timeout: 20_000 });
  await expect(page.getByTestId('sha256')).toHaveText(createHash('sha256').update(bytes).digest('hex'));
  await expect(page.getByTestId('checksum-bytes')).toHaveText('5,000,000');
  await expect(page.getByTestId('job-outcome')).toHaveText(/^report\.bin: 5,000,000 bytes\. Done in/);
  await expect(page.getByTestId('my-job').first()).toContainText('report.bin');
  // The page that the server renders later is the same.
  await page.reload();
  await expect(page.getByTestId('sha256')).toHaveText(createHash('sha256').update(bytes).digest('hex'));
});

test('a dropped file is sent too, and an empty one is a file', async ({ page }) => {
  await openHydrated(page);
  await page.getByTestId('upload-kind').locator('summary').click();
  await dropFile(page, 'empty.txt', '');
  await expect(page).toHaveURL(JOB_URL);
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done');
  await expect(page.getByTestId('checksum-bytes')).toHaveText('0');
});

test('a file dropped while another one is sent does not disturb it', async ({ page }) => {
  await openHydrated(page);
  await page.getByTestId('upload-kind').locator('summary').click();
  let uploads = 0;
  let release = () => {};
  const released = new Promise<void>((done) => (release = done));
  await page.route('**/api/jobs/upload*', async (route) => {
    uploads += 1;
    await released;
    await route.continue();
  });
  await dropFile(page, 'first.txt', 'first');
  await expect(page.getByTestId('sending-file')).toContainText('Sending first.txt');
  await dropFile(page, 'second.txt', 'the second');
  await expect(page.getByTestId('sending-file')).toContainText('Sending first.txt');
  release();
  await expect(page).toHaveURL(JOB_URL);
  await expect(page.getByTestId('job-outcome')).toHaveText(/^first\.txt: 5 bytes\./);
  expect(uploads).toBe(1);
});

test.describe('a file that is too long', () => {
  test.use({ flags: { 'max-upload': '1KiB' }, tolerated: /status of 4\d\d|net::ERR_/ });

  test('is refused in words, and the page stays', async ({ page }) => {
    await openHydrated(page);
    await chooseFile(page, 'long.bin', file(2_000));
    await page.getByTestId('upload').click();
    await expect(page.getByTestId('upload-refusal')).toHaveText(/up to 1 KiB/);
    await expect(page).toHaveURL('/progress');
  });
});

test('a race ends with bars and every round, and all messages arrived', async ({ page }) => {
  await openHydrated(page);
  await page.getByTestId('race-kind').locator('summary').click();
  await page.getByTestId('messages').fill('2000');
  await page.getByTestId('rounds').fill('2');
  await page.getByTestId('start-race').click();
  await expect(page).toHaveURL(JOB_URL);
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done', { timeout: 30_000 });
  await expect(page.getByTestId('race')).toHaveAttribute('data-complete', 'true');
  await expect(page.getByTestId('race').locator('.bar')).toHaveCount(12);
  await expect(page.getByTestId('race-row')).toHaveCount(4);
  await expect(page.getByTestId('job-outcome')).toContainText('All 4,000 messages arrived over each');
  await page.reload();
  await expect(page.getByTestId('race-row')).toHaveCount(4);
});

test('my jobs are newest first, and a started one is among them at once', async ({ page }) => {
  await openHydrated(page);
  await startCountdown(page, 2, 50);
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done');
  await startCountdown(page, 1000, 1000);
  await expect(page.getByTestId('my-job')).toHaveCount(2);
  await expect(page.getByTestId('my-job').first()).toContainText('Running');
  await expect(page.getByTestId('my-job').last()).toContainText('Done');
  await page.getByTestId('cancel').click();
  await expect(page.getByTestId('my-job').first()).toContainText('Cancelled');
  await page.getByTestId('my-job').last().getByRole('link').click();
  await expect(page.getByTestId('job-numbers')).toContainText('2 of 2 steps');
});

test('a running job shows its rate and when it will be done', async ({ page }) => {
  await page.goto('/progress');
  await startCountdown(page, 100, 100);
  await connected(page);
  await expect(page.getByTestId('job-numbers')).toHaveText(/^\d+ of 100 steps, \d+ %, (9\.\d|10) steps a second, about \d+ s left/);
});

test.describe('without JavaScript', () => {
  test.use({ javaScriptEnabled: false });

  test('a file is sent by the browser itself', async ({ page }) => {
    const bytes = file(100_000);
    await page.goto('/progress');
    await chooseFile(page, 'plain.bin', bytes);
    await page.getByTestId('upload').click();
    await expect(page).toHaveURL(JOB_URL);
    await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done', { timeout: 20_000 });
    await expect(page.getByTestId('sha256')).toHaveText(createHash('sha256').update(bytes).digest('hex'));
  });

  test('a race is started, and a bad field leads back to its form', async ({ page }) => {
    await page.goto('/progress');
    await page.getByTestId('race-kind').locator('summary').click();
    await page.getByTestId('messages').fill('99');
    await page.getByTestId('start-race').click();
    await expect(page.getByTestId('race-refusal')).toHaveText(/100 to 100000/);
    await expect(page.getByTestId('start-refusal')).toHaveText('');
    await page.getByTestId('messages').fill('500');
    await page.getByTestId('rounds').fill('1');
    await page.getByTestId('start-race').click();
    await expect(page).toHaveURL(JOB_URL);
    await expect(page.getByTestId('race-row')).toHaveCount(2, { timeout: 20_000 });
  });
});
