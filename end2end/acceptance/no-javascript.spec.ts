import { connected, expect, test } from '../fixtures/app';
import { JOB_URL } from '../fixtures/jobs';

test.use({ javaScriptEnabled: false });

test('the guide leads to the four pages', async ({ page }) => {
  await page.goto('/');
  for (const path of ['/ticker', '/progress', '/chat', '/collab']) {
    await page.goto('/');
    await page.locator(`main a[href="${path}"]`).first().click();
    await expect(page).toHaveURL(path);
    await expect(page.locator('main h1')).toBeVisible();
  }
});

test('the ticker shows 24 rows with prices', async ({ page }) => {
  await page.goto('/ticker');
  await expect(page.getByTestId('price-row')).toHaveCount(24);
  await expect(page.getByTestId('price').filter({ hasText: /^[\d,]+\.\d\d$/ })).toHaveCount(24);
});

test('a job is started by the form and followed to its end', async ({ page }) => {
  await page.goto('/progress');
  await page.getByTestId('steps').fill('4');
  await page.getByTestId('step-ms').fill('800');
  await page.getByTestId('start').click();
  await expect(page).toHaveURL(JOB_URL);
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Running');
  await expect(page.getByTestId('job-numbers')).toContainText('of 4 steps');
  // The page reloads itself until the job has ended.
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done', { timeout: 15_000 });
  await expect(page.getByTestId('bar')).toHaveAttribute('value', '4');
});

test('a job is cancelled by the form, and its page says so', async ({ page }) => {
  await page.goto('/progress');
  await page.getByTestId('steps').fill('1000');
  await page.getByTestId('start').click();
  await expect(page).toHaveURL(JOB_URL);
  await page.getByTestId('cancel').click();
  await expect(page).toHaveURL(/\/progress\/[0-9a-f-]{36}\??$/);
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Cancelled');
});

test('a bad field leads back to the form with the reason', async ({ page }) => {
  await page.goto('/progress');
  await page.getByTestId('steps').fill('0');
  await page.getByTestId('start').click();
  await expect(page).toHaveURL(/\/progress(\?|$)/);
  await expect(page.getByTestId('start-refusal')).toHaveText(/steps.*1 to 1,?000/i);
  await expect(page.getByTestId('steps')).toHaveAttribute('aria-invalid', 'true');
  // The form still works.
  await page.getByTestId('steps').fill('1');
  await page.getByTestId('start').click();
  await expect(page).toHaveURL(JOB_URL);
});

test.describe('beside a user with JavaScript', () => {
  // For the other users only; the page under test is created without JavaScript.
  test.use({ javaScriptEnabled: true });

  test('the chat shows the earlier messages', async ({ browser, baseURL, visit }) => {
    const { page: ada } = await visit('Ada', '/chat');
    await connected(ada);
    for (const text of ['First', 'Second']) {
      await ada.getByTestId('composer').fill(text);
      await ada.getByTestId('send').click();
    }
    await expect(ada.getByTestId('message-text')).toHaveText(['First', 'Second']);

    const plain = await browser.newContext({ baseURL, javaScriptEnabled: false });
    const page = await plain.newPage();
    await page.goto('/chat');
    await expect(page.getByTestId('message-text')).toHaveText(['First', 'Second']);
    await expect(page.getByTestId('member').filter({ hasText: 'Ada' })).toHaveCount(1);
    await expect(page.locator('noscript .notice')).toBeVisible();
    await plain.close();
  });

  test('the board shows who is there and where', async ({ browser, baseURL, visit, nodes }) => {
    const { page: ada } = await visit('Ada', '/collab');
    const { page: grace } = await visit('Grace', '/collab');
    await connected(ada);
    await connected(grace);
    const box = (await ada.getByTestId('board').boundingBox())!;
    await ada.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    // Grace sees the pointer, so the server has it.
    await expect(grace.locator('[data-test=pointer][data-name=Ada]')).toBeVisible();

    const plain = await browser.newContext({ baseURL, javaScriptEnabled: false });
    const page = await plain.newPage();
    await page.goto('/collab');
    await expect(page.getByTestId('board')).toBeVisible();
    await expect(page.locator('[data-test=pointer][data-name=Ada]')).toHaveAttribute('x', /^(49\.|50)/);
    const peers = page.getByTestId('peer');
    if (nodes === 1) await expect(peers).toHaveText(['Ada', 'Grace']);
    // In a cluster they stand in the order of their ids, which are not in the order of their arrival.
    else await expect.poll(async () => (await peers.allTextContents()).toSorted()).toEqual(['Ada', 'Grace']);
    await plain.close();
  });
});

test('the name form renames, keeps the user, and returns to the page', async ({ page, context }) => {
  await page.goto('/ticker');
  const before = await context.request.post('/api/session/sign_in', { form: { name: 'Before' } });
  await page.getByTestId('name').fill('Ada Lovelace');
  await page.getByTestId('name-form').getByRole('button').click();
  await expect(page).toHaveURL('/ticker');
  await expect(page.getByTestId('name')).toHaveValue('Ada Lovelace');
  await expect(page.getByTestId('price-row')).toHaveCount(24);
  await page.goto('/chat');
  await expect(page.getByTestId('name')).toHaveValue('Ada Lovelace');
  const after = await context.request.post('/api/session/sign_in', { form: { name: 'After' } });
  expect((await after.json()).user.id).toBe((await before.json()).user.id);
});

test('a name that is too long leads back with the reason and changes nothing', async ({ page }) => {
  await page.goto('/ticker');
  const name = await page.getByTestId('name').inputValue();
  expect(name).not.toBe('');
  await page.getByTestId('name').fill('x'.repeat(33));
  await page.getByTestId('name-form').getByRole('button').click();
  await expect(page.getByTestId('name-refusal')).toContainText('1 to 32 characters');
  await page.goto('/ticker');
  await expect(page.getByTestId('name')).toHaveValue(name);
});

test('signing out returns to the page as another guest', async ({ page, context }) => {
  await page.goto('/ticker');
  const before = await context.request.post('/api/session/guest');
  await page.getByTestId('sign-out').click();
  await expect(page).toHaveURL('/ticker');
  await expect(page.getByTestId('name')).not.toHaveValue('');
  const after = await context.request.post('/api/session/guest');
  expect((await after.json()).user.id).not.toBe((await before.json()).user.id);
});
