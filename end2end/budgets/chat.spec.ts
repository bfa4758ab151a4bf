import { connected, expect, test } from '../fixtures/app';
import { seed, texts } from '../fixtures/chat';
import { longest, tasksDuring } from '../fixtures/tasks';

test.use({ flags: { 'messages-per-second': 5_000 } });

const MESSAGES = 1_000;
const LONGEST_TASK_MS = 50;
/** A turn of the wheel, in pixels. */
const TURN = 240;

test('a thousand messages scroll without a task of more than 50 ms', async ({ browser, visit }) => {
  test.setTimeout(180_000);
  const { page: grace } = await visit('Grace', '/');
  await seed(grace, 'lobby', MESSAGES);
  const { page } = await visit('Ada', '/chat');
  await connected(page);
  await expect(texts(page).last()).toHaveText(`message ${MESSAGES}`);
  await page.getByTestId('log').hover();

  const shows = async (number: number) => (await texts(page).filter({ hasText: new RegExp(`^message ${number}$`) }).count()) > 0;
  const scrollTo = async (number: number, turn: number) => {
    while (!(await shows(number))) {
      for (let turns = 0; turns < 20; turns++) {
        await page.mouse.wheel(0, turn);
        await page.evaluate(() => new Promise(requestAnimationFrame));
      }
    }
  };
  const tasks = await tasksDuring(browser, page, async () => {
    await scrollTo(1, -TURN);
    await scrollTo(MESSAGES, TURN);
  });
  console.log(`${MESSAGES} messages up and down, ${longest(tasks)}`);
  expect(tasks.length).toBeGreaterThan(500);
  expect(tasks[0]).toBeLessThan(LONGEST_TASK_MS);
});
