import type { Locator, Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';
import { say, seed, texts } from '../fixtures/chat';

// The tests send whole histories at once.
test.use({ flags: { 'messages-per-second': 5_000 } });

const MESSAGES = 1_000;
/** So many rows more are shown at a time, or fewer where a page of history ends. */
const STEP = 20;

/** A user who has sent a thousand messages to the lobby, and displays none of them. */
async function historyOf(visit: (name: string, path: string) => Promise<{ page: Page }>, count = MESSAGES): Promise<Page> {
  const { page } = await visit('Grace', '/');
  await seed(page, 'lobby', count);
  return page;
}

/** The position on the screen of the message with an offset. */
function topOf(log: Locator, offset: string): Promise<number | undefined> {
  return log.evaluate((log, offset) => log.querySelector(`[data-offset="${offset}"]`)?.getBoundingClientRect().top, offset);
}

function firstOffset(log: Locator): Promise<string> {
  return log.evaluate((log) => log.querySelector<HTMLElement>('[data-offset]')!.dataset.offset!);
}

test('a thousand messages are scrolled through upwards, page by page, and nothing jumps', async ({ visit }) => {
  await historyOf(visit);
  const { page } = await visit('Ada', '/chat');
  await connected(page);
  const log = page.getByTestId('log');
  await expect(texts(page).last()).toHaveText(`message ${MESSAGES}`);
  let seen = 0;
  while ((await firstOffset(log)) !== '1') {
    const first = await firstOffset(log);
    // Scrolls up until the next page is requested, and records which row is at the upper edge then, and where exactly.
    const anchor = await log.evaluate((log) => {
      log.scrollTop = 40;
      const edge = log.getBoundingClientRect().top;
      const rows = [...log.querySelectorAll<HTMLElement>('[data-offset]')];
      const row = rows.find((row) => row.getBoundingClientRect().bottom > edge)!;
      return { offset: row.dataset.offset!, top: row.querySelector('[data-test=message-text]')!.getBoundingClientRect().top };
    });
    await expect.poll(() => firstOffset(log)).not.toBe(first);
    const top = await log.evaluate(
      (log, offset) => log.querySelector(`[data-offset="${offset}"] [data-test=message-text]`)!.getBoundingClientRect().top,
      anchor.offset,
    );
    expect(Math.abs(top - anchor.top)).toBeLessThan(1);
    expect(++seen).toBeLessThan(1.5 * (MESSAGES / STEP));
  }
  // Scrolls all the way: in order, without a gap, and never with all messages in the document.
  const shown = await texts(page).allTextContents();
  expect(shown.slice(0, 300)).toEqual(Array.from({ length: 300 }, (_, index) => `message ${index + 1}`));
  expect(shown.length).toBeLessThanOrEqual(400);

  // Scrolls down again, without any request.
  const scrollDown = async () => {
    await log.evaluate((log) => (log.scrollTop = log.scrollHeight));
    return texts(page).last().textContent();
  };
  await expect.poll(scrollDown, { intervals: [0] }).toBe(`message ${MESSAGES}`);
});

test('while a thousand messages scroll by, rows that stay on the page are not removed and inserted again', async ({ visit }) => {
  await historyOf(visit);
  const { page } = await visit('Ada', '/chat');
  await connected(page);
  const log = page.getByTestId('log');
  await expect(texts(page).last()).toHaveText(`message ${MESSAGES}`);
  // A row that is removed and inserted again looks the same, but makes the browser style, lay out and paint every row
  // again.
  const moved = await log.evaluateHandle((log) => {
    const moved: string[] = [];
    new MutationObserver((changes) => {
      const removed = changes.flatMap((change) => [...change.removedNodes]);
      moved.push(...removed.filter((node) => node.isConnected).map((node) => node.textContent!.slice(0, 40)));
    }).observe(log, { childList: true, subtree: true });
    return moved;
  });
  const shows = (number: number) => page.locator(`[data-offset="${number}"]`).count();
  while (!(await shows(1))) await log.evaluate((log) => (log.scrollTop = 40));
  while (!(await shows(MESSAGES))) await log.evaluate((log) => (log.scrollTop = log.scrollHeight));
  expect(await moved.jsonValue()).toEqual([]);
});

test('new messages do not move a reader further up, are counted, and are reached with one press', async ({ visit }) => {
  const grace = await historyOf(visit, 100);
  const { page } = await visit('Ada', '/chat');
  await connected(page);
  const log = page.getByTestId('log');
  await expect(texts(page).last()).toHaveText('message 100');
  await expect(page.getByTestId('to-latest')).toHaveCount(0);
  // Everything is read first; a reader who scrolls away sooner has not read it. What is unread is known with the members.
  await expect(page.getByTestId('member').filter({ hasText: 'Ada' })).toBeVisible();
  await expect(page.getByTestId('unread')).toHaveCount(0);
  await log.hover();
  await page.mouse.wheel(0, -400);
  await expect(page.getByTestId('to-latest')).toHaveText(/^To the latest/);
  const offset = await log.evaluate((log) => {
    const edge = log.getBoundingClientRect().top;
    return [...log.querySelectorAll<HTMLElement>('[data-offset]')].find((row) => row.getBoundingClientRect().top >= edge)!.dataset.offset!;
  });
  const top = await topOf(log, offset);
  await seed(grace, 'lobby', 3, 'fresh');
  await expect(page.getByTestId('to-latest')).toHaveText(/^3 new messages/);
  expect(await topOf(log, offset)).toBe(top);
  // A message that was not visible is not read.
  await expect(page.getByTestId('unread').first()).toHaveText(/^3/);
  await page.getByTestId('to-latest').click();
  await expect(page.getByTestId('to-latest')).toHaveCount(0);
  await expect(texts(page).last()).toBeInViewport();
  await expect(texts(page).last()).toHaveText('fresh 3');
  await expect(page.getByTestId('unread')).toHaveCount(0);
  // From there on the log follows new messages again.
  await seed(grace, 'lobby', 30, 'more');
  await expect(texts(page).last()).toHaveText('more 30');
  await expect(texts(page).last()).toBeInViewport();
});

test('search finds words in the whole history, and a result leads to its place', async ({ visit }) => {
  const grace = await historyOf(visit);
  await seed(grace, 'lobby', 2, 'needle');
  const { page } = await visit('Ada', '/chat');
  await connected(page);
  await page.getByTestId('search').fill('message 123');
  await page.getByTestId('search').press('Enter');
  await expect(page.getByTestId('result')).toHaveCount(1);
  await expect(page.getByTestId('results-count')).toHaveText('1 message');
  await expect(page.getByTestId('result')).toContainText('message 123');
  await page.getByTestId('result').click();
  await expect(page.getByTestId('results')).toHaveCount(0);
  const found = page.locator('.message.found');
  await expect(found).toContainText('message 123');
  await expect(found).toBeInViewport();
  // Far from the end the page offers a way back.
  await page.getByTestId('to-latest').click();
  await expect(texts(page).last()).toBeInViewport();
  await expect(texts(page).last()).toHaveText('needle 2');

  // A result that is visible already.
  await page.getByTestId('search').fill('NEEDLE');
  await page.getByTestId('find').click();
  await expect(page.getByTestId('result')).toHaveText([/needle 2/, /needle 1/]);
  await page.getByTestId('result').last().click();
  await expect(found).toContainText('needle 1');
  await expect(found).toBeInViewport();

  // Nothing is found; Escape closes the results.
  await page.getByTestId('search').fill('haystack');
  await page.getByTestId('search').press('Enter');
  await expect(page.getByTestId('results-count')).toHaveText(/^Nothing was found/);
  await page.getByTestId('search').press('Escape');
  await expect(page.getByTestId('results')).toHaveCount(0);
  await expect(page.getByTestId('search')).toHaveValue('');
  await expect(texts(page).last()).toBeInViewport();
});

test('while results cover the log, nothing counts as read', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  await connected(ada);
  await connected(grace);
  await ada.getByTestId('search').fill('anything');
  await ada.getByTestId('search').press('Enter');
  await expect(ada.getByTestId('results')).toBeVisible();
  await say(grace, 'Are you there?');
  await expect(ada.getByTestId('unread')).toHaveText(/^1/);
  await ada.getByTestId('leave-search').click();
  await expect(ada.getByTestId('unread')).toHaveCount(0);
  await expect(grace.getByTestId('receipt')).toHaveText(['Read by 1']);
});

test('the messages of a person stand under one name', async ({ visit }) => {
  await historyOf(visit, 3);
  const { page } = await visit('Ada', '/chat');
  await connected(page);
  await say(page, 'And mine');
  await expect(page.locator('.message.leads')).toHaveText([/Grace.*message 1/, /Ada.*And mine/]);
  await expect(page.getByTestId('day')).toHaveText(['Today']);
});

test('on a phone rooms and people fold away, and the end of the log is in view', async ({ visit }) => {
  await historyOf(visit, 60);
  const { page } = await visit('Ada', '/chat');
  await page.setViewportSize({ width: 390, height: 780 });
  await connected(page);
  await expect(texts(page).last()).toBeInViewport();
  await expect(page.getByTestId('composer')).toBeInViewport();
  await expect(page.getByTestId('rooms')).toBeHidden();
  await expect(page.getByTestId('members')).toBeHidden();
  await page.getByTestId('show-people').click();
  await expect(page.getByTestId('members')).toBeVisible();
  await page.getByTestId('show-rooms').click();
  await expect(page.getByTestId('members')).toBeHidden();
  await expect(page.getByTestId('show-rooms')).toHaveAttribute('aria-expanded', 'true');
  await page.getByRole('link', { name: '#rust' }).click();
  await expect(page.getByTestId('room-name')).toHaveText('#rust');
  await expect(page.getByTestId('rooms')).toBeHidden();
  await page.evaluate(() => scrollTo(10_000, 0));
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
});
