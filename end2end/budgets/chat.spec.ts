import { connected, expect, test } from '../fixtures/app';
import { seed, texts } from '../fixtures/chat';
import { longest, tasksDuring } from '../fixtures/tasks';

// The test sends the whole history at once.
test.use({ flags: { 'messages-per-second': 5_000 } });

const MESSAGES = 1_000;
const LONGEST_TASK_MS = 50;
/** The distance that the wheel scrolls in each frame, in pixels. */
const TURN = 240;
const TURNS = 20;

test('a thousand messages scroll up and down without a task of more than 50 ms', async ({ browser, visit }) => {
  test.setTimeout(180_000);
  const { page: grace } = await visit('Grace', '/');
  await seed(grace, 'lobby', MESSAGES);
  const { page } = await visit('Ada', '/chat');
  await connected(page);
  await expect(texts(page).last()).toHaveText(`message ${MESSAGES}`);
  await page.getByTestId('log').hover();

  const shows = (offset: number) => page.evaluate((offset) => !!document.querySelector(`[data-offset="${offset}"]`), offset);
  const scrollTo = async (offset: number, turn: number) => {
    while (!(await shows(offset))) {
      for (let turns = 0; turns < TURNS; turns++) {
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
  // A trace without tasks would prove nothing.
  expect(tasks.length).toBeGreaterThan(500);
  expect(tasks[0]).toBeLessThan(LONGEST_TASK_MS);
});
