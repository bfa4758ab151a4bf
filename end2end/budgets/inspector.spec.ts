import { connected, expect, test } from '../fixtures/app';
import { longest, tasksAtRate } from '../fixtures/tasks';

/** Some eleven of 24 symbols trade in a step, so a step every 10 ms gives more than a thousand frames a second. */
test.use({ flags: { 'tick-ms': 10 } });

const MEASURED_MS = 10_000;
const LONGEST_TASK_MS = 50;

test('unfolded at a thousand frames a second, the inspector takes no task of more than 50 ms', async ({ browser, page }) => {
  test.setTimeout(180_000);
  await page.goto('/ticker');
  await connected(page);
  await page.getByTestId('inspector-toggle').click();
  const count = async () => Number((await page.getByTestId('count-in').textContent())!.replaceAll(',', ''));
  // The start of the page has a budget of its own.
  await expect.poll(count).toBeGreaterThan(2_000);

  const { tasks, rate } = await tasksAtRate(browser, page, MEASURED_MS, count);
  console.log(`${Math.round(rate)} frames a second, ${longest(tasks)}`);
  expect(rate).toBeGreaterThan(1_000);
  // A trace without tasks would prove nothing.
  expect(tasks.length).toBeGreaterThan(500);
  expect(tasks[0]).toBeLessThan(LONGEST_TASK_MS);
});
