import { join } from 'node:path';
import type { BrowserContext, BrowserContextOptions, Page } from '@playwright/test';
import { connected, expect, test, type Visitor } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';
import { caret, editable, saved, select, text } from '../fixtures/collab';

const FOLDER = join(__dirname, '../../docs/screenshots');
const DESKTOP = { width: 1280, height: 800 };
const LOOKS: Record<string, BrowserContextOptions> = {
  light: { viewport: DESKTOP, colorScheme: 'light' },
  dark: { viewport: DESKTOP, colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: 'light' },
};

const TALK = [
  ['Grace', 'Morning! The drain on node two took four seconds, and all clients came back by themselves.'],
  ['Ada', 'Saw it. Nothing is lost: the log has 1,204 of 1,204.'],
  ['Barbara', 'And the order is the same for everybody?'],
  ['Ada', 'Byte for byte.\nThe checker runs with: make torture'],
  ['Grace', 'Then I pull the plug on node three next.'],
  ['Barbara', 'Wait for the race to end, it is in round two of three.'],
] as const;

const RUNBOOK = `Runbook: moving a node

1. Tell the load balancer: /readyz answers 503 as soon as the drain begins.
2. Send SIGTERM. Streams get "drain" and a time to come back, sockets close with 1012.
3. Wait for "drained: every connection has ended", at most five seconds.
4. Start the new version on the same data folder.

What clients see: a countdown, then everything they missed, once and in order.
`;

// Allows the fault that the picture of the inspector shows.
test.use({ flags: { 'allow-faults': 'true' } });

test('every page, in light, in dark, and on a phone', async ({ browser, baseURL, visit }) => {
  const ada = await visit('Ada', '/chat');
  const grace = await visit('Grace', '/chat');
  const barbara = await visit('Barbara', '/chat');
  await converse({ Ada: ada, Grace: grace, Barbara: barbara });
  const [graceWrites, barbaraWrites] = [await grace.context.newPage(), await barbara.context.newPage()];
  await write(graceWrites, barbaraWrites);
  const race = await start(ada.context, { kind: 'race', messages: '5000', rounds: '3' });
  await finished(ada.context, race);
  const job = await start(ada.context, { kind: 'countdown', steps: '1000', step_ms: '700' });
  await chartIsFull(await ada.context.newPage());

  for (const [look, options] of Object.entries(LOOKS)) {
    const context = await browser.newContext({ baseURL, ...options, storageState: await ada.context.storageState() });
    const page = await context.newPage();
    const picture = (name: string) => page.screenshot({ path: join(FOLDER, `${name}-${look}.png`), animations: 'disabled' });

    await page.goto('/');
    await page.waitForLoadState('networkidle');
    await picture('guide');

    await page.goto('/ticker');
    await counted(page);
    await picture('ticker');
    await page.getByTestId('inspector-toggle').click();
    await page.getByTestId('fault-drop').click();
    await expect(page.getByTestId('trial')).toHaveAttribute('data-state', 'done');
    await picture('inspector');

    await page.goto(`/progress/${job}`);
    await counted(page);
    if (look === 'phone') await page.getByTestId('job').scrollIntoViewIfNeeded();
    await picture('progress');

    await page.goto(`/progress/${race}`);
    await expect(page.getByTestId('race')).toBeVisible();
    if (look === 'phone') await page.getByTestId('job').evaluate((panel) => panel.scrollIntoView());
    await picture('race');

    await page.goto('/chat');
    await counted(page);
    await barbara.page.getByTestId('composer').pressSequentially('As soon as');
    await expect(page.getByTestId('typing')).toContainText('Barbara');
    await picture('chat');
    await barbara.page.getByTestId('composer').fill('');

    await page.goto('/collab');
    await editable(page);
    await counted(page);
    await point(graceWrites, 0.72, 0.42);
    await point(barbaraWrites, 0.45, 0.86);
    await expect(caret(page, 'Barbara')).toBeVisible();
    await expect(page.getByTestId('pointer')).toHaveCount(2);
    await picture('collab');
    await context.close();
  }
});

/** Waits until the page is live and its inspector has counted events. */
async function counted(page: Page): Promise<void> {
  await connected(page);
  await expect(page.getByTestId('inspector-summary')).not.toHaveText(/^0 in/);
}

async function converse(people: Record<(typeof TALK)[number][0], Visitor>): Promise<void> {
  for (const { page } of Object.values(people)) await connected(page);
  for (const [name, text] of TALK) {
    await say(people[name].page, text);
    // All users have received the message before the next one is sent.
    for (const { page } of Object.values(people)) await expect(texts(page).last()).toHaveText(text);
  }
}

async function write(first: Page, second: Page): Promise<void> {
  for (const page of [first, second]) {
    await page.goto('/collab');
    await editable(page);
  }
  await text(first).fill(RUNBOOK);
  await saved(first);
  await expect(text(second)).toHaveValue(RUNBOOK);
  await select(first, RUNBOOK.indexOf('Wait') + 4);
  const [from, to] = [RUNBOOK.indexOf('everything'), RUNBOOK.indexOf(', once')];
  await select(second, from, to);
}

/** Moves the pointer; one that did not move for a while fades. */
async function point(page: Page, x: number, y: number): Promise<void> {
  const board = (await page.getByTestId('board').boundingBox())!;
  await page.mouse.move(board.x + board.width * x - 3, board.y + board.height * y);
  await page.mouse.move(board.x + board.width * x, board.y + board.height * y);
}

async function start({ request }: BrowserContext, form: Record<string, string>): Promise<string> {
  return (await (await request.post('/api/jobs/start', { form })).json()).id;
}

async function finished({ request }: BrowserContext, id: string): Promise<void> {
  await expect.poll(async () => (await (await request.get(`/api/jobs/${id}`)).json()).status, { timeout: 60_000 }).toBe('done');
}

async function chartIsFull(page: Page): Promise<void> {
  await page.goto('/ticker');
  await expect(page.getByTestId('chart-line')).toHaveAttribute('d', /^M0(\.0)? /, { timeout: 300_000 });
  await page.close();
}
