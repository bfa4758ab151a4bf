import type { BrowserContext, Page } from '@playwright/test';
import { connected, expect, openGuide, pageLink, test } from '../fixtures/app';

// The interval between two rounds of prices is long enough to read the contents of all tabs.
// Motion is not tested here, and ten tabs that paint flashes keep two processors busy.
test.use({ flags: { 'tick-ms': 1_500, 'heartbeat-ms': 1_000 }, contextOptions: { reducedMotion: 'reduce' } });

const TABS = 10;

async function openTabs(context: BrowserContext, count: number): Promise<Page[]> {
  const tabs: Page[] = [];
  for (let tab = 0; tab < count; tab++) {
    const page = await context.newPage();
    await page.goto('/ticker');
    await connected(page);
    tabs.push(page);
  }
  return tabs;
}

function role(page: Page): Promise<string | null> {
  return page.getByTestId('role').getAttribute('data-role');
}

async function roles(tabs: Page[]): Promise<(string | null)[]> {
  return (await Promise.all(tabs.map(role))).sort();
}

/** What a tab received: the number of events, the first offset, and the last position. All read at one instant. */
async function received(page: Page): Promise<{ count: number; from: number; at: string; upTo: number }> {
  const [count, from, at] = await page
    .getByTestId('received')
    .evaluate((note) => ['data-count', 'data-from', 'data-at'].map((name) => note.getAttribute(name) ?? ''));
  return { count: Number(count), from: Number(from), at, upTo: Number(at.split('-')[1]) };
}

/** Without a filter every offset is one event: if the counts of events and of passed offsets differ, one is missing or doubled. */
async function expectNoGapAndNoDuplicate(page: Page): Promise<void> {
  await expect.poll(async () => (await received(page)).count).toBeGreaterThan(0);
  const { count, from, upTo } = await received(page);
  expect(count).toBe(upTo - from);
}

/** Expects the same rows in all tabs, at a moment between two rounds of prices. */
async function expectSamePrices(tabs: Page[]): Promise<void> {
  await expect(async () => {
    const positions = await Promise.all(tabs.map(async (tab) => (await received(tab)).at));
    const prices = await Promise.all(tabs.map((tab) => tab.getByTestId('price').allTextContents()));
    expect(new Set(positions).size).toBe(1);
    expect(prices[0]).toHaveLength(24);
    for (const row of prices) expect(row).toEqual(prices[0]);
  }).toPass({ timeout: 60_000 });
}

test('ten tabs share one stream; when its holder closes, the next goes on without loss or double', async ({ context, server }) => {
  test.setTimeout(180_000);
  const tabs = await openTabs(context, TABS);
  expect(await roles(tabs)).toEqual([...Array(TABS - 1).fill('follower'), 'leader']);
  expect(await server.openConnections('ticker')).toBe(1);
  await expectSamePrices(tabs);
  for (const tab of tabs) await expectNoGapAndNoDuplicate(tab);

  for (let round = 0; round < 2; round++) {
    const held = await Promise.all(tabs.map(role));
    const [leader] = tabs.splice(held.indexOf('leader'), 1);
    const before = await Promise.all(tabs.map(received));
    await leader.close();
    await expect.poll(() => roles(tabs)).toEqual([...Array(tabs.length - 1).fill('follower'), 'leader']);
    await Promise.all(tabs.map((tab) => connected(tab)));
    // All tabs receive further prices.
    for (const [index, tab] of tabs.entries()) await expect.poll(async () => (await received(tab)).upTo).toBeGreaterThan(before[index].upTo + 20);
    await expect.poll(() => server.openConnections('ticker')).toBe(1);
    await expectSamePrices(tabs);
    for (const [index, tab] of tabs.entries()) {
      await expectNoGapAndNoDuplicate(tab);
      // No tab has started anew: the history is the same since the page was opened.
      expect((await received(tab)).from).toBe(before[index].from);
    }
  }
});

test('a tab filters the shared stream by itself, and an added symbol shows its price at once', async ({ context, server }) => {
  const [leader, follower] = await openTabs(context, 2);
  await follower.goto('/ticker?symbols=ACME');
  await connected(follower);
  await expect(follower.getByTestId('price-row')).toHaveCount(1);
  await follower.getByTestId('picker-open').click();
  await follower.locator('[data-test=picker-option][data-symbol=INIT]').click();
  await expect(follower.locator('[data-test=price-row][data-symbol=INIT]').getByTestId('price')).toHaveText(/\d/);
  await expect(leader.getByTestId('price-row')).toHaveCount(24);
  expect(await server.openConnections('ticker')).toBe(1);
});

test('a tab that the router leads here gets its state and then shares the stream', async ({ context, server }) => {
  const [leader] = await openTabs(context, 1);
  const guest = await context.newPage();
  await openGuide(guest);
  await pageLink(guest, 'Ticker').click();
  await connected(guest);
  await expect(guest.getByTestId('price').filter({ hasText: /\d/ })).toHaveCount(24);
  await expect.poll(() => roles([leader, guest])).toEqual(['follower', 'leader']);
  await expect.poll(() => server.openConnections('ticker')).toBe(1);
  await expectSamePrices([leader, guest]);
  await expectNoGapAndNoDuplicate(guest);
});

test('a tab that asks for a stream of its own gets one', async ({ context, server }) => {
  const [shared] = await openTabs(context, 1);
  const own = await context.newPage();
  await own.goto('/ticker?stream=own');
  await connected(own);
  expect(await role(own)).toBe('alone');
  expect(await role(shared)).toBe('leader');
  expect(await server.openConnections('ticker')).toBe(2);
  // Back again, with the link.
  await own.getByTestId('stream-mode').click();
  await expect(own).toHaveURL('/ticker');
  await connected(own);
  expect(await role(own)).toBe('follower');
  await expect.poll(() => server.openConnections('ticker')).toBe(1);
});

test('other users of the browser do not share', async ({ visit, server }) => {
  const { page: ada } = await visit('Ada', '/ticker');
  const { page: grace } = await visit('Grace', '/ticker');
  for (const page of [ada, grace]) {
    await connected(page);
    expect(await role(page)).toBe('leader');
  }
  expect(await server.openConnections('ticker')).toBe(2);
});
