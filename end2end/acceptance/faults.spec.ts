import type { Page } from '@playwright/test';
import { BROKEN_CONNECTION, connected, expect, status, test } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';
import { editable, saved, text, typeAt } from '../fixtures/collab';
import { barValues, startCountdown } from '../fixtures/jobs';

// Short heartbeat intervals, so that a stall is noticed soon. A restart refuses connections, and the browser logs that.
test.use({ tolerated: BROKEN_CONNECTION, flags: { 'allow-faults': 'true', 'heartbeat-ms': 1_000, 'client-ping-ms': 1_000 } });

/** The time that a watchdog, a pause of 10 s and a restart take, with a margin. */
const BACK_WITHIN_MS = 40_000;
const BACK = /^Open → Waiting → (Connecting → Waiting → )*Connecting → Open$/;
const MISSED_CAME = /^✓ Back after \d+\.\d s; \d+ missed events? replayed\.$/;
const ANEW = /recovered: false, the state came anew\.$/;
const STATES: Record<string, RegExp> = {
  drop: BACK,
  stall: BACK,
  go_offline: /^Open → Offline → Connecting → Open$/,
  expire_history: BACK,
  server_restart: BACK,
  duplicate_id: /^Open$/,
};

async function unfold(page: Page): Promise<void> {
  await connected(page);
  await page.getByTestId('inspector-toggle').click();
  await expect(page.getByTestId('machine')).toHaveAttribute('data-state', 'Open');
}

/** Starts a job of one minute and opens its page. */
async function startJob(page: Page): Promise<void> {
  await page.goto('/progress');
  await startCountdown(page, 300, 200);
  await unfold(page);
}

/** Presses the button of a fault, and waits until it is marked as done and the page has recovered. Returns the text beside it. */
async function suffer(page: Page, fault: string, meanwhile = async () => {}, after = connected): Promise<string> {
  await page.getByTestId(`fault-${fault}`).click();
  const trial = page.locator(`[data-test=trial][data-act=${fault}]`);
  await expect(trial).toBeVisible();
  await meanwhile();
  await expect(trial).toHaveAttribute('data-state', 'done', { timeout: BACK_WITHIN_MS });
  await expect(trial.getByTestId('trial-states')).toHaveText(STATES[fault]);
  await after(page);
  return (await trial.getByTestId('trial-outcome').textContent())!;
}

/** Every offset is one event: none is missing and none was received twice. */
async function nothingLost(page: Page): Promise<void> {
  await expect(async () => {
    const numbers = await page.getByTestId('received').evaluate((note) => ['data-count', 'data-from', 'data-at'].map((name) => note.getAttribute(name)!));
    const [count, from, at] = [Number(numbers[0]), Number(numbers[1]), Number(numbers[2].split('-')[1])];
    expect(count).toBeGreaterThan(0);
    expect(count).toBe(at - from);
  }).toPass();
}

for (const fault of ['drop', 'stall', 'go_offline', 'duplicate_id']) {
  test(`ticker: ${fault}, and no price is lost or taken twice`, async ({ page }) => {
    await page.goto('/ticker');
    await unfold(page);
    await expect(page.getByTestId('received')).not.toHaveAttribute('data-count', '0');
    expect(await suffer(page, fault)).toMatch(fault === 'duplicate_id' ? /twice and was taken once/ : MISSED_CAME);
    await nothingLost(page);
  });
}

test('ticker: an expired history and a restart begin with the state anew', async ({ page, nodes }) => {
  await page.goto('/ticker');
  await unfold(page);
  await expect(page.getByTestId('received')).not.toHaveAttribute('data-count', '0');
  for (const fault of ['expire_history', 'server_restart']) {
    // Of several nodes one restarts. Only if that one owns the prices, their history ends.
    const goesOn = nodes > 1 && fault === 'server_restart';
    expect(await suffer(page, fault)).toMatch(goesOn ? new RegExp(`${ANEW.source}|${MISSED_CAME.source}`) : ANEW);
    // New prices are received.
    const count = () => page.getByTestId('received').getAttribute('data-count').then(Number);
    const before = await count();
    await expect.poll(count).not.toBe(before);
  }
});

test('progress: dropped, stalled, duplicated, expired and offline, a job is watched to its end', async ({ page }) => {
  test.setTimeout(120_000);
  await startJob(page);
  await expect(page.getByTestId('job-numbers')).toContainText(/^[1-9]\d* of 300/);
  const seen = await barValues(page);
  const outcomes: Record<string, RegExp> = {
    duplicate_id: /twice and was taken once/,
    drop: MISSED_CAME,
    stall: MISSED_CAME,
    expire_history: ANEW,
    go_offline: MISSED_CAME,
  };
  for (const [fault, outcome] of Object.entries(outcomes)) {
    const newest = () => seen.evaluate((values) => values.at(-1)!);
    const before = await newest();
    expect(await suffer(page, fault), fault).toMatch(outcome);
    await expect.poll(newest).toBeGreaterThan(before);
  }
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Done', { timeout: 60_000 });
  await expect(page.getByTestId('job-numbers')).toContainText('300 of 300');
  // The state is received before the missed steps, and the steps do not go back.
  const values = await seen.jsonValue();
  expect(values).toEqual(values.toSorted((a, b) => a - b));
});

test('progress: a restart ends the job, and the page says so', async ({ page, nodes }) => {
  await startJob(page);
  await suffer(page, 'server_restart', undefined, (page) => expect(status(page)).toHaveAttribute('data-state', 'closed'));
  await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Failed', { timeout: BACK_WITHIN_MS });
  // In a cluster the node ends its jobs while it shuts down. Alone it finds them when it starts again.
  await expect(page.getByTestId('job-outcome')).toContainText(nodes === 1 ? 'restart' : 'shut down');
});

for (const fault of ['drop', 'stall', 'go_offline', 'duplicate_id', 'expire_history', 'server_restart']) {
  test(`chat: ${fault}, and every message is there once`, async ({ visit }) => {
    test.setTimeout(90_000);
    const { page: ada } = await visit('Ada', '/chat');
    const { page: grace } = await visit('Grace', '/chat');
    await connected(grace);
    await unfold(ada);
    await say(grace, 'Before');
    await expect(texts(ada)).toHaveText(['Before']);
    await suffer(ada, fault, () => (fault === 'server_restart' ? Promise.resolve() : say(grace, 'Meanwhile')));
    await connected(grace, BACK_WITHIN_MS);
    await say(grace, 'After');
    const all = fault === 'server_restart' ? ['Before', 'After'] : ['Before', 'Meanwhile', 'After'];
    for (const page of [ada, grace]) await expect(texts(page)).toHaveText(all);
  });
}

for (const fault of ['drop', 'stall', 'go_offline', 'duplicate_id', 'server_restart']) {
  test(`collab: ${fault}, and both have the same text`, async ({ visit }) => {
    test.setTimeout(90_000);
    const { page: ada } = await visit('Ada', '/collab');
    const { page: grace } = await visit('Grace', '/collab');
    await editable(ada);
    await editable(grace);
    await unfold(ada);
    await typeAt(grace, 0, 'Before. ');
    await expect(text(ada)).toHaveValue('Before. ');
    await suffer(ada, fault, async () => {
      await typeAt(grace, 8, 'From there. ');
      await typeAt(ada, 0, 'From here. ');
    });
    await connected(grace, BACK_WITHIN_MS);
    for (const page of [ada, grace]) await expect(text(page)).toHaveValue('From here. Before. From there. ');
    await typeAt(ada, 31, 'After.');
    for (const page of [ada, grace]) {
      await expect(text(page)).toHaveValue('From here. Before. From there. After.');
      await saved(page);
    }
  });
}

test('a tab that follows shows, and breaks, the leader’s stream', async ({ visit }) => {
  const { page: leader, context } = await visit('Ada', '/ticker');
  await connected(leader);
  const follower = await context.newPage();
  await follower.goto('/ticker');
  await unfold(follower);
  await expect(follower.getByTestId('inspector-follows')).toBeVisible();
  await expect(follower.getByTestId('received')).not.toHaveAttribute('data-count', '0');
  expect(await suffer(follower, 'duplicate_id')).toContain('taken once');
  await suffer(follower, 'drop');
  for (const page of [leader, follower]) await nothingLost(page);
});

test.describe('where faults are not allowed', () => {
  test.use({ flags: {} });

  test('there are no buttons, and the wire is shown all the same', async ({ page }) => {
    await page.goto('/ticker');
    await unfold(page);
    await expect(page.getByTestId('frame').first()).toBeVisible();
    await expect(page.getByTestId('fault-drop')).toHaveCount(0);
  });
});
