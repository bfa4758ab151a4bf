import type { Locator, Page } from '@playwright/test';
import { alive, BROKEN_CONNECTION, connected, expect, guideLives, openGuide, status, test } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';
import { editable, saved, typeAt } from '../fixtures/collab';
import { translate } from '../fixtures/extensions';
import { startCountdown } from '../fixtures/jobs';

// The pages under test are translated: the browser has replaced their text nodes.
test.use({ tolerated: new RegExp(`${BROKEN_CONNECTION.source}|Failed to fetch|status of 422`), flags: { 'allow-faults': 'true' } });

async function translated(page: Page): Promise<void> {
  await page.evaluate(translate);
  await expect(page.locator('h1 font').or(page.locator('header font')).first()).toBeAttached();
}

function words(page: Page): Locator {
  return page.getByTestId('status-words');
}

test('a translated ticker is updated, and its status is true', async ({ page, server }) => {
  await page.goto('/ticker');
  await connected(page);
  await translated(page);
  await expect(words(page)).toHaveText('«Connected»');
  // All 24 prices.
  const prices = page.getByTestId('price');
  const before = await prices.allTextContents();
  const standing = async () => (await prices.allTextContents()).filter((price, row) => price === before[row]).length;
  await expect.poll(standing, { timeout: 30_000 }).toBe(0);
  // Numbers are not translated.
  await expect(page.locator('td font, [data-test=price] font')).toHaveCount(await page.locator('td.wide:not([translate]) font').count());

  await page.getByTestId('filter').fill('no such symbol');
  await expect(page.getByTestId('no-rows')).toHaveText('«No symbol has that in its name.»');
  await page.getByTestId('filter').fill('');
  const symbol = page.getByTestId('chart').locator('.chart-symbol');
  await page.getByTestId('select').last().click();
  await expect(symbol).toHaveText(await page.getByTestId('select').last().innerText());

  const received = page.getByTestId('received');
  const count = await received.textContent();
  await expect.poll(() => received.textContent()).not.toBe(count);

  await server.stop();
  await expect(words(page)).toHaveText(/^«(Connection lost|Connecting, attempt)/);
  await server.start();
  await expect(words(page)).toHaveText('«Connected»', { timeout: 20_000 });
});

test("the texts of a translated job are updated up to its end", async ({ page }) => {
  await page.goto('/progress');
  await alive(page);
  await startCountdown(page, 12, 1_000);
  await translated(page);
  await expect(page.getByTestId('job-status')).toHaveText('«Running»');
  const numbers = await page.getByTestId('job-numbers').innerText();
  await expect(page.getByTestId('job-numbers')).not.toHaveText(numbers);
  await expect(page.getByTestId('job-numbers')).toContainText('11 of 12', { timeout: 20_000 });
  await expect(page.getByTestId('job-status')).toHaveText('«Done»');
  await expect(page.getByTestId('job-outcome')).toHaveText(/^«Done in .* s\.»$/);
  await expect(page.getByTestId('my-job').first()).toContainText('Done');
  // A refusal is shown, changes and disappears.
  await page.getByTestId('steps').fill('0');
  await page.getByTestId('start').click();
  await expect(page.getByTestId('start-refusal')).toHaveText(/^«The number of steps .*»$/);
  await page.getByTestId('steps').fill('1');
  await page.getByTestId('step-ms').fill('1');
  await page.getByTestId('start').click();
  await expect(page.getByTestId('start-refusal')).toHaveText(/^«The length of a step .*»$/);
});

test('in a translated chat people, typing, unread counts and waiting messages stay true', async ({ visit, server }) => {
  const { page: ada } = await visit('Ada', '/chat');
  await connected(ada);
  await translated(ada);
  const { page: grace } = await visit('Grace', '/chat');
  await connected(grace);
  await expect(ada.getByTestId('member')).toHaveText(['Ada', 'Grace']);
  await expect(ada.getByTestId('show-people')).toHaveText('«Here now: 2»');

  await grace.getByTestId('composer').pressSequentially('Hi');
  await expect(ada.getByTestId('typing')).toHaveText('«Grace is typing»');
  await grace.getByTestId('send').click();
  await expect(texts(ada)).toHaveText(['«Hi»']);
  await expect(ada.getByTestId('typing')).toBeEmpty();
  // A message counts as read once it has been visible for a moment: before that, it is still unread in the next room.
  await expect(grace.getByTestId('receipt')).toHaveText('Read by 1');

  await say(ada, 'Hello');
  await expect(ada.getByTestId('receipt')).toHaveText('«Read by 1»');

  await ada.goto('/chat/rust');
  await connected(ada);
  await translated(ada);
  await say(grace, 'Anybody?');
  await expect(ada.getByTestId('unread')).toHaveText(/^1/);
  await say(grace, 'Nobody');
  await expect(ada.getByTestId('unread')).toHaveText(/^2/);

  await server.stop();
  await ada.getByTestId('composer').fill('Later');
  await ada.getByTestId('send').click();
  await expect(ada.getByTestId('unsent')).toHaveText('«1 unsent»');
  await ada.getByTestId('composer').fill('Much later');
  await ada.getByTestId('send').click();
  await expect(ada.getByTestId('unsent')).toHaveText('«2 unsent»');
  await server.start();
  await expect(ada.getByTestId('unsent')).toHaveCount(0, { timeout: 20_000 });
  await expect(texts(ada)).toHaveText(['«Later»', '«Much later»']);
});

test('on a translated board the save state and the list of users stay true', async ({ visit, server }) => {
  const { page: ada } = await visit('Ada', '/collab');
  await editable(ada);
  await translated(ada);
  await expect(ada.getByTestId('here')).toHaveText('«1 here»');
  const { page: grace } = await visit('Grace', '/collab');
  await editable(grace);
  await expect(ada.getByTestId('here')).toHaveText('«2 here»');
  await typeAt(grace, 0, 'two words');
  await expect(ada.getByTestId('words')).toHaveText('«2 words»');
  await saved(ada);
  await expect(ada.getByTestId('saved')).toHaveText('«Saved»');
  await server.stop();
  await typeAt(ada, 0, 'x');
  await expect(ada.getByTestId('saved')).toHaveText(/^«Offline: kept here/);
  await server.start();
  await expect(ada.getByTestId('saved')).toHaveText('«Saved»', { timeout: 20_000 });
});

test("the translated guide's measurement counts, and its tree answers", async ({ page }) => {
  await openGuide(page);
  await translated(page);
  const toggle = page.getByTestId('compare-toggle');
  await toggle.click();
  await expect(toggle).toHaveText('«Stop»');
  const messages = page.getByTestId('lane-messages').first();
  const count = async () => Number((await messages.innerText()).replace(/\D/g, ''));
  await expect.poll(count).toBeGreaterThan(5);
  await expect.poll(count).toBeGreaterThan(40);
  await toggle.click();
  await expect(toggle).toHaveText('«Start»');

  const tree = page.getByTestId('tree');
  await tree.getByRole('radio').first().check();
  const said = await page.getByTestId('tree-words').innerText();
  await page.getByTestId('tree-again').click();
  await expect(page.getByTestId('tree-words')).not.toHaveText(said);
});

test('the translated inspector keeps counting, and reports its faults', async ({ page }) => {
  await page.goto('/ticker');
  await connected(page);
  await page.getByTestId('inspector-toggle').click();
  await translated(page);
  const summary = page.getByTestId('inspector-summary');
  const before = await summary.innerText();
  await expect(summary).not.toHaveText(before);
  const frames = page.getByTestId('count-in');
  const seen = Number((await frames.innerText()).replace(/\D/g, ''));
  await expect.poll(async () => Number((await frames.innerText()).replace(/\D/g, ''))).toBeGreaterThan(seen + 20);
  await page.getByTestId('fault-drop').click();
  await expect(page.getByTestId('trial')).toHaveAttribute('data-state', 'done', { timeout: 20_000 });
  await expect(page.getByTestId('trial-outcome')).toHaveText(/^«✓ /);
  await expect(status(page)).toHaveAttribute('data-state', 'open');
  await expect(words(page)).toHaveText('«Connected»');
});

test('a translated notice disappears with its cause', async ({ page, context }) => {
  await openGuide(page);
  await translated(page);
  await context.setOffline(true);
  await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: /Chat/ }).click();
  await expect(page.getByTestId('awaited-page')).toHaveText(/could not be loaded/);
  await context.setOffline(false);
  await connected(page, 20_000);
  await expect(page.getByTestId('awaited-page')).toHaveText('');
  await page.goto('/');
  await guideLives(page);
});
