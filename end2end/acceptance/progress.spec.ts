import { connected, expect, pageLink, test } from '../fixtures/app';
import { barValues, JOB_URL, startCountdown } from '../fixtures/jobs';

test('a countdown runs to its end in the window that started it and in another', async ({ visit, server }) => {
  const { page } = await visit('Ada', '/progress');
  await startCountdown(page, 10, 800);
  await connected(page);
  const { page: other } = await visit('Grace', page.url());
  await connected(other);
  const values = [await barValues(page), await barValues(other)];

  for (const window of [page, other]) {
    await expect(window.getByTestId('job')).toHaveAttribute('data-status', 'Done', { timeout: 15_000 });
    await expect(window.getByTestId('job-outcome')).toHaveText(/^Done in \d+\.\d s\.$/);
    await expect(window.getByTestId('job-numbers')).toContainText('10 of 10 steps, 100 %');
  }
  for (const seen of await Promise.all(values.map((handle) => handle.jsonValue()))) {
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.at(-1)).toBe(10);
    // The bar moved while it was observed; it did not jump to its end.
    expect(new Set(seen).size).toBeGreaterThan(3);
  }
  // No page reconnects after the last event.
  await expect.poll(() => server.openConnections('job')).toBe(0);
  await expect(page.getByTestId('status')).toHaveAttribute('data-state', 'closed');
});

test('a reload in the middle shows the current state of the job', async ({ page }) => {
  await page.goto('/progress');
  // The form starts a job whether it is hydrated or not.
  await startCountdown(page, 10, 500);
  await connected(page);
  await expect(page.getByTestId('job-numbers')).toContainText(/^[3-9] of 10/, { timeout: 10_000 });

  // The page that the server renders, before any script has run, shows the current state of the job.
  const html = await (await page.request.get(page.url())).text();
  expect(Number(html.match(/data-test="job-numbers"[^>]*>(?:<!--.*?-->)*(\d+) of 10/)?.[1])).toBeGreaterThanOrEqual(3);

  await page.reload();
  await connected(page);
  const seen = await barValues(page);
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done', { timeout: 15_000 });
  expect((await seen.jsonValue())[0]).toBeGreaterThanOrEqual(3);
});

test('a finished job shows its end to later visitors', async ({ visit, server }) => {
  const { page } = await visit('Ada', '/progress');
  await startCountdown(page, 2, 100);
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done');
  const { page: later } = await visit('Grace', page.url());
  await expect(later.getByTestId('job')).toHaveAttribute('data-status', 'Done');
  await expect(later.getByTestId('job-outcome')).toHaveText(/^Done in/);
  expect(await server.openConnections('job')).toBe(0);

  await page.goto('/progress');
  await expect(page.getByTestId('my-job')).toHaveCount(1);
  await expect(page.getByTestId('my-job')).toContainText('Done');
  await later.goto('/progress');
  await expect(later.getByTestId('my-job')).toHaveCount(0);
});

test('the owner cancels, and everybody sees it; nobody else can', async ({ visit }) => {
  const { page } = await visit('Ada', '/progress');
  await startCountdown(page, 100, 500);
  await connected(page);
  const { page: other } = await visit('Grace', page.url());
  await connected(other);
  await expect(other.getByTestId('cancel')).toHaveCount(0);
  await page.getByTestId('cancel').click();
  for (const window of [page, other]) {
    await expect(window.getByTestId('job')).toHaveAttribute('data-status', 'Cancelled');
    await expect(window.getByTestId('cancel')).toHaveCount(0);
  }
  await expect(page).toHaveURL(JOB_URL);
});

test('from a finished job another is started, and the page shows that one', async ({ page }) => {
  await page.goto('/progress');
  await startCountdown(page, 2, 100);
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done');
  const first = page.url();
  await startCountdown(page, 3, 100);
  await expect(page).not.toHaveURL(first);
  await expect(page.getByTestId('job-numbers')).toContainText('of 3 steps');
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done');
});

test.describe('refusals', () => {
  // The browser logs every 4xx status as an error.
  test.use({ tolerated: /the server responded with a status of 4\d\d/ });

  test('a bad field is refused with its range, and what was typed stays', async ({ page }) => {
    // Opened with the router, so that the form is certainly hydrated.
    await page.goto('/ticker');
    await connected(page);
    await pageLink(page, 'Progress').click();
    await page.getByTestId('steps').fill('1001');
    await page.getByTestId('start').click();
    await expect(page.getByTestId('start-refusal')).toHaveText(/steps.*1 to 1,?000/i);
    await expect(page.getByTestId('steps')).toHaveAttribute('aria-invalid', 'true');
    await expect(page.getByTestId('step-ms')).toHaveAttribute('aria-invalid', 'false');
    await expect(page.getByTestId('steps')).toHaveValue('1001');
    // The same document: the browser itself posted no form.
    await expect(page).toHaveURL('/progress');
  });

  test('a refusal is read out with the fields of its form', async ({ page }) => {
    await page.goto('/ticker');
    await connected(page);
    await pageLink(page, 'Progress').click();
    await page.getByTestId('steps').fill('1001');
    await page.getByTestId('start').click();
    const description = (field: string) =>
      page.getByTestId(field).evaluate((input) => document.getElementById(input.getAttribute('aria-describedby')!)?.textContent);
    for (const field of ['steps', 'step-ms']) await expect.poll(() => description(field)).toMatch(/steps.*1 to 1,?000/i);
    await page.getByTestId('race-kind').locator('summary').click();
    await page.getByTestId('size').fill('1');
    await page.getByTestId('start-race').click();
    for (const field of ['messages', 'size', 'rounds', 'rate']) await expect.poll(() => description(field)).toMatch(/16 to 65,?536/);
  });

  test('an address without a job shows a notice', async ({ page }) => {
    const answer = await page.goto('/progress/00000000-0000-4000-8000-000000000000');
    expect(answer?.status()).toBe(404);
    await expect(page.getByTestId('unknown-job')).toBeVisible();
  });
});
