import type { Locator, Page } from '@playwright/test';
import { connected, expect, test, type Visitor } from '../fixtures/app';
import { say, texts, textsOnServer } from '../fixtures/chat';
import { editable, saved, text } from '../fixtures/collab';

// The pings that fill the uplink are counted as messages.
test.use({ flags: { 'messages-per-second': 1_000 } });

/** Above this number of unsent bytes the kit's uplink is full. */
const LIMIT_BYTES = 64 * 1024;
/** What a page may add to a full uplink: edits and read marks, but no pointers, carets or messages. */
const SMALL_BYTES = 16 * 1024;

interface Recorded {
  sockets: WebSocket[];
  peak: number;
}

type Visit = (name: string, path: string) => Promise<Visitor>;

/** Opens a page whose sockets are recorded. */
async function visitRecorded(visit: Visit, name: string, url: string): Promise<Page> {
  const { page } = await visit(name, 'about:blank');
  await page.addInitScript(() => {
    const sockets: WebSocket[] = [];
    window.WebSocket = class extends WebSocket {
      constructor(url: string | URL, protocols?: string | string[]) {
        super(url, protocols);
        sockets.push(this);
      }
    };
    Object.assign(window, { sockets, peak: 0 });
  });
  await page.goto(url);
  await connected(page);
  return page;
}

/** Sends pings, blown up with spaces, until the browser keeps them. From then on records the largest number of unsent bytes. */
async function fillUplink(page: Page): Promise<number> {
  return page.evaluate(async (limit) => {
    const recorded = window as unknown as Recorded;
    const socket = recorded.sockets.at(-1)!;
    const ping = JSON.stringify({ type: 'ping', at: 1 }).padEnd(60_000);
    for (let full = 0; full < 5; full++) {
      while (socket.bufferedAmount <= 2 * limit) {
        socket.send(ping);
        full = 0;
      }
      await new Promise((done) => setTimeout(done, 100));
    }
    setInterval(() => (recorded.peak = Math.max(recorded.peak, socket.bufferedAmount)), 10);
    return socket.bufferedAmount;
  }, LIMIT_BYTES);
}

const unsentBytes = (page: Page) => page.evaluate(() => (window as unknown as Recorded).sockets.at(-1)!.bufferedAmount);
const peak = (page: Page) => page.evaluate(() => (window as unknown as Recorded).peak);
const openedSockets = (page: Page) => page.evaluate(() => (window as unknown as Recorded).sockets.length);

/** The inspector's count of volatile commands that were not sent. */
function notSent(page: Page): Locator {
  return page.getByTestId('count-unsent');
}

/** Unfolds the inspector, and waits for its code, which could not be loaded once the uplink is full. */
async function unfoldInspector(page: Page): Promise<void> {
  await page.getByTestId('inspector-toggle').click();
  await expect(page.getByTestId('inspector-frames')).toBeVisible();
  await expect(notSent(page)).toHaveCount(0);
}

test('a full uplink keeps messages in the outbox, drops what is volatile, and loses nothing', async ({ visit, wire }) => {
  const ada = await visitRecorded(visit, 'Ada', `${wire.url}/chat`);
  const { page: grace } = await visit('Grace', '/chat');
  await connected(grace);
  await unfoldInspector(ada);
  // Folded again, since it would cover the button that sends.
  await ada.getByTestId('inspector-toggle').click();

  wire.stopReading();
  const filled = await fillUplink(ada);
  expect(filled).toBeGreaterThan(LIMIT_BYTES);
  const written = Array.from({ length: 30 }, (_, index) => `waiting ${index + 1} ${'x'.repeat(3_000)}`);
  for (const text of written) await say(ada, text);
  await expect(ada.getByTestId('unsent')).toHaveText('30 unsent');
  // That the user was typing was news at the time only.
  await ada.getByTestId('inspector-toggle').click();
  await expect(notSent(ada)).toHaveText(/^[1-9]/);
  expect(await peak(ada)).toBeLessThan(filled + SMALL_BYTES);
  await expect(texts(grace)).toHaveCount(0);

  wire.readAgain();
  await expect(ada.getByTestId('unsent')).toHaveCount(0, { timeout: 30_000 });
  expect(await textsOnServer(grace, 'lobby')).toEqual(written);
  await expect(texts(grace)).toHaveText(written);
  await expect.poll(() => unsentBytes(ada)).toBe(0);
  // It was one connection throughout.
  expect(await openedSockets(ada)).toBe(1);
});

test('a full uplink drops pointers, keeps every edit, and the newest pointer and text arrive', async ({ visit, wire }) => {
  const ada = await visitRecorded(visit, 'Ada', `${wire.url}/collab`);
  const { page: grace } = await visit('Grace', '/collab');
  await connected(grace);
  await editable(ada);
  await unfoldInspector(ada);

  wire.stopReading();
  const filled = await fillUplink(ada);
  await text(ada).focus();
  await ada.keyboard.type('Written meanwhile');
  const box = (await ada.getByTestId('board').boundingBox())!;
  await ada.mouse.move(box.x + 10, box.y + 5);
  await ada.mouse.move(box.x + box.width / 2, box.y + 5, { steps: 50 });
  await expect(notSent(ada)).toHaveText(/^[1-9]/);
  expect(await peak(ada)).toBeLessThan(filled + SMALL_BYTES);

  wire.readAgain();
  await expect(text(grace)).toHaveValue('Written meanwhile');
  await saved(ada);
  await expect(grace.locator('[data-test=pointer][data-name=Ada]')).toHaveAttribute('x', /^(49\.|50)/);
  expect(await openedSockets(ada)).toBe(1);
});
