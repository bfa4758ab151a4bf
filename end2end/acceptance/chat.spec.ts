import type { Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';

async function say(page: Page, text: string): Promise<void> {
  await page.getByTestId('composer').fill(text);
  await page.getByTestId('send').click();
  // The composer is empty again: the message was accepted.
  await expect(page.getByTestId('composer')).toHaveValue('');
}

test('two people read the same messages in the same order', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  await connected(ada);
  await connected(grace);

  await say(ada, 'Hello, Grace');
  await expect(grace.getByTestId('message-text')).toHaveText(['Hello, Grace']);
  await say(grace, 'Hello, Ada');
  // Both send at once: whichever message the server accepts first, the order is the same for both.
  const numbers = [1, 2, 3, 4, 5];
  await Promise.all([ada, grace].map(async (page, who) => {
    for (const number of numbers) await say(page, `${who} says ${number}`);
  }));
  await expect(ada.getByTestId('message')).toHaveCount(12);
  await expect(grace.getByTestId('message')).toHaveCount(12);
  const [read, alsoRead] = await Promise.all([ada, grace].map((page) => page.getByTestId('message-text').allTextContents()));
  expect(read).toEqual(alsoRead);
  expect(new Set(read).size).toBe(12);
  // The messages of each writer keep their order.
  for (const who of [0, 1]) expect(read.filter((text) => text.startsWith(`${who} `))).toEqual(numbers.map((number) => `${who} says ${number}`));
  await expect(ada.getByTestId('sending')).toHaveCount(0);
  await expect(grace.getByTestId('message').first()).toContainText('Ada');
});

test('a user is listed once, however many tabs are open, and is removed after the last one closes', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace, context: graceHas } = await visit('Grace', '/chat');
  await connected(ada);
  await connected(grace);
  const second = await graceHas.newPage();
  await second.goto('/chat');
  await connected(second);
  const here = ada.getByTestId('members').getByTestId('member');
  await expect(here.filter({ hasText: 'Grace' })).toHaveCount(1);
  await expect(here).toHaveCount(2);

  await second.close();
  await grace.reload();
  await connected(grace);
  await expect(here).toHaveCount(2);

  // The server waits 5 s after the last tab, so that a reload does not count as a leave.
  await grace.close();
  await expect(here).toHaveText(['Ada'], { timeout: 10_000 });
});

test('a reload in less than five seconds is no leave', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  await connected(ada);
  await connected(grace);
  const here = ada.getByTestId('members');
  await expect(here).toContainText('Grace');
  const counts = await here.evaluateHandle((list) => {
    const counts: number[] = [];
    new MutationObserver(() => counts.push(list.querySelectorAll('[data-test=member]').length)).observe(list, { childList: true, subtree: true });
    return counts;
  });
  await grace.reload();
  await connected(grace);
  // A message is exchanged after the reload, so every effect of the reload has arrived.
  await say(grace, 'Back again');
  await expect(ada.getByTestId('message-text')).toHaveText(['Back again']);
  expect((await counts.jsonValue()).filter((count) => count < 2)).toEqual([]);
});

test('rooms are separate, and a room keeps its messages', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat/rust');
  const { page: grace } = await visit('Grace', '/chat/random');
  await connected(ada);
  await connected(grace);
  await say(ada, 'Borrowed');
  await say(grace, 'Rolled');
  await expect(ada.getByTestId('message-text')).toHaveText(['Borrowed']);
  await expect(grace.getByTestId('message-text')).toHaveText(['Rolled']);

  // The router changes the room, not a new document: the messages of the old room are replaced.
  await grace.getByRole('navigation', { name: 'Rooms' }).getByRole('link', { name: '#rust' }).click();
  await expect(grace.getByTestId('message-text')).toHaveText(['Borrowed']);
  await connected(grace);
  await say(grace, 'Moved');
  await expect(ada.getByTestId('message-text')).toHaveText(['Borrowed', 'Moved']);
  await expect(grace.getByTestId('message-text')).toHaveText(['Borrowed', 'Moved']);

  await ada.reload();
  await connected(ada);
  await expect(ada.getByTestId('message-text')).toHaveText(['Borrowed', 'Moved']);
});

test('a text is shown as it was typed, whatever it contains', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  await connected(ada);
  await connected(grace);
  const text = '<b>bold</b> & "quoted" 😀 שלום';
  await say(ada, text);
  await expect(grace.getByTestId('message-text')).toHaveText([text]);
  await grace.reload();
  await connected(grace);
  await expect(grace.getByTestId('message-text')).toHaveText([text]);
  await expect(grace.getByTestId('log').locator('b')).toHaveCount(0);
});

test('a text that is too long is refused in words and stays in the line', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  await connected(ada);
  const long = 'x'.repeat(4_001);
  await ada.getByTestId('composer').fill(long);
  await ada.getByTestId('send').click();
  await expect(ada.getByTestId('chat-refusal')).toContainText('4000');
  await expect(ada.getByTestId('composer')).toHaveValue(long);
  await expect(ada.getByTestId('message')).toHaveCount(0);
});
