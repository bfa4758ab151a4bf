import { connected, expect, test } from '../fixtures/app';

test('a new name stays, reaches the others, and belongs to the same user', async ({ visit }) => {
  const { page: ada, context, user } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  await connected(ada);
  await connected(grace);
  const there = grace.getByTestId('members').getByTestId('member');
  await expect(there.filter({ hasText: 'Ada' })).toHaveCount(1);

  await ada.getByTestId('name').fill('Countess');
  await ada.getByTestId('name-form').getByRole('button').click();
  await expect(ada).toHaveURL('/chat');
  await expect(there.filter({ hasText: 'Countess' })).toHaveCount(1);
  // It is one user: the old name does not stay in the list.
  await expect(there).toHaveCount(2);
  await connected(ada);
  await ada.getByTestId('composer').fill('It is still me');
  await ada.getByTestId('send').click();
  await expect(grace.getByTestId('message')).toContainText(['Countess']);

  await ada.reload();
  // Chromium logs a warning when a page is left while its socket is being opened.
  await connected(ada);
  await expect(ada.getByTestId('name')).toHaveValue('Countess');
  const again = await context.request.post('/api/session/sign_in', { form: { name: 'Countess' } });
  expect((await again.json()).user.id).toBe(user.id);
});

test('a name out of bounds is refused in words, and the old one stays', async ({ visit }) => {
  const { page } = await visit('Ada', '/ticker');
  await connected(page);
  await page.getByTestId('name').fill('x'.repeat(33));
  await page.getByTestId('name-form').getByRole('button').click();
  await expect(page.getByTestId('name-refusal')).toContainText('1 to 32 characters');
  await page.reload();
  await expect(page.getByTestId('name')).toHaveValue('Ada');
  await expect(page.getByTestId('name-refusal')).toBeEmpty();
});

test('every visitor has a guest session from the first page on, and keeps it', async ({ page, context }) => {
  await page.goto('/');
  const name = await page.getByTestId('name').inputValue();
  expect(name).not.toBe('');
  const cookie = (await context.cookies()).find((cookie) => cookie.name === 'wirewise_session');
  expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Lax', path: '/' });
  await page.goto('/collab');
  await connected(page);
  await expect(page.getByTestId('name')).toHaveValue(name);
});
