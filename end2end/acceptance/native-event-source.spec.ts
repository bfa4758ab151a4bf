import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { BROKEN_CONNECTION, expect, test } from '../fixtures/app';

// Ticks are frequent, so that there are events to miss in every break.
test.use({ tolerated: BROKEN_CONNECTION, flags: { 'tick-ms': 200, 'heartbeat-ms': 500 } });

interface Seen {
  name: string;
  id: string;
  data: { recovered?: boolean; replayed?: number };
}

/** Opens a page of 20 lines with an `EventSource` and without the kit, as if `origin` served it. */
async function openPlainPage(page: Page, origin: string): Promise<void> {
  const path = join(__dirname, '../fixtures/native-event-source.html');
  await page.route(`${origin}/plain`, (route) => route.fulfill({ path, contentType: 'text/html' }), { times: 1 });
  await page.goto(`${origin}/plain`);
}

function seen(page: Page): Promise<Seen[]> {
  return page.evaluate('seen');
}

async function count(page: Page, name: string): Promise<number> {
  return (await seen(page)).filter((event) => event.name === name).length;
}

function position(id: string): [epoch: string, offset: number] {
  const [epoch, offset] = id.split('-');
  return [epoch, Number(offset)];
}

/** Without a filter every offset is a price: a snapshot at n is followed by n + 1, n + 2, ..., whatever happens to the connection. */
function expectNoGapAndNoDuplicate(events: Seen[]): void {
  let at: [string, number] | undefined;
  for (const { name, id } of events) {
    if (name === 'snapshot') at = position(id);
    if (name !== 'price') continue;
    expect(position(id)).toEqual([at![0], at![1] + 1]);
    at = position(id);
  }
}

test('a cut connection: the browser comes back by itself and resumes without gap or duplicate', async ({ page, wire }) => {
  await openPlainPage(page, wire.url);
  for (const round of [1, 2]) {
    const prices = await count(page, 'price');
    await expect.poll(() => count(page, 'price')).toBeGreaterThan(prices + 20);
    wire.cut();
    await expect.poll(() => count(page, 'hello'), { timeout: 10_000 }).toBe(round + 1);
  }
  const prices = await count(page, 'price');
  await expect.poll(() => count(page, 'price')).toBeGreaterThan(prices + 20);

  const events = await seen(page);
  const again = events.map((event, index) => ({ ...event, before: events[index - 1] })).filter((event) => event.name === 'hello').slice(1);
  for (const hello of again) {
    expect(hello.data.recovered).toBe(true);
    expect(hello.data.replayed).toBeGreaterThan(0);
    // The id is that of the reconnect: the browser sent Last-Event-ID, and `hello` did not move the position.
    expect(hello.id).toBe(hello.before.id);
  }
  expect(await count(page, 'snapshot')).toBe(1);
  expectNoGapAndNoDuplicate(events);
});

test('a restart of the server: the browser comes back by itself and is told that the history is new', async ({ page, server, nodes }) => {
  await openPlainPage(page, server.url);
  await expect.poll(() => count(page, 'price')).toBeGreaterThan(20);
  await server.restart();
  // The delay it was given is up to 5 s; a refused attempt takes as long again.
  await expect.poll(() => count(page, 'hello'), { timeout: 15_000 }).toBe(2);
  const prices = await count(page, 'price');
  await expect.poll(() => count(page, 'price')).toBeGreaterThan(prices + 20);

  const events = await seen(page);
  // Of several nodes that start again one after the other, another one takes the prices over first: that ends the stream too.
  if (nodes === 1) expect(events.map((event) => event.name)).toContain('drain');
  const hellos = events.filter((event) => event.name === 'hello');
  expect(hellos.map((hello) => hello.data.recovered)).toEqual([false, false]);
  const snapshots = events.filter((event) => event.name === 'snapshot');
  expect(snapshots).toHaveLength(2);
  expect(position(snapshots[1].id)[0]).not.toBe(position(snapshots[0].id)[0]);
  // The state follows each `hello` directly; no event of the new history is shown before it.
  for (const hello of hellos) expect(events[events.indexOf(hello) + 1].name).toBe('snapshot');
  expectNoGapAndNoDuplicate(events);
});
