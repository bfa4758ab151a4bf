import type { Locator, Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';
import { editable, text } from '../fixtures/collab';

function pointer(page: Page, name: string): Locator {
  return page.locator(`[data-test=pointer][data-name="${name}"]`);
}

/** Collects the types of the text frames that the page sends. */
function sentBy(page: Page): string[] {
  const sent: string[] = [];
  page.on('websocket', (socket) =>
    socket.on('framesent', ({ payload }) => {
      if (typeof payload === 'string') sent.push(JSON.parse(payload).type);
    }),
  );
  return sent;
}

/** Makes the browser report that the tab is hidden or visible. */
async function look(page: Page, hidden: boolean): Promise<void> {
  await page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
    Object.defineProperty(document, 'visibilityState', { value: hidden ? 'hidden' : 'visible', configurable: true });
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
  }, hidden);
}

test('at most one position is sent in a frame, and none when nothing moved', async ({ page }) => {
  const sent = sentBy(page);
  await page.goto('/collab');
  await connected(page);
  const moves = () => sent.filter((type) => type === 'move').length;
  const burst = (places: number) =>
    page.getByTestId('board').evaluate(async (board, places) => {
      const box = board.getBoundingClientRect();
      for (let step = 0; step < 50; step++) {
        const clientX = box.left + (box.width * (step % places)) / places;
        board.dispatchEvent(new PointerEvent('pointermove', { clientX, clientY: box.top + 5, bubbles: true }));
      }
      // Waits for two animation frames: anything sent in the next one has been sent by then.
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    }, places);
  await burst(50);
  await expect.poll(moves).toBe(1);
  // The same position again and again.
  await burst(1);
  await expect.poll(moves).toBe(2);
  await burst(1);
  await page.getByTestId('board').dispatchEvent('pointerleave');
  await expect.poll(() => sent.includes('hide')).toBe(true);
  expect(moves()).toBe(2);
  // A hidden pointer is not hidden again.
  await page.getByTestId('board').dispatchEvent('pointerleave');
  await burst(2);
  await expect.poll(moves).toBe(3);
  expect(sent.filter((type) => type === 'hide')).toHaveLength(1);
});

test('a pointer moves smoothly between its positions, and arrives', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  await connected(ada);
  await connected(grace);
  const box = (await ada.getByTestId('board').boundingBox())!;
  await ada.mouse.move(box.x + 20, box.y + 10);
  await expect(pointer(grace, 'Ada')).toBeVisible();
  const inner = pointer(grace, 'Ada').locator('svg');
  await inner.evaluate((inner) => {
    const seen: string[] = [];
    Object.assign(window, { seen });
    new MutationObserver(() => seen.push(inner.getAttribute('x')!)).observe(inner, { attributeFilter: ['x'] });
  });
  await ada.mouse.move(box.x + box.width - 20, box.y + 10);
  await expect(inner).toHaveAttribute('x', '0%');
  const seen = () => grace.evaluate(() => (window as unknown as { seen: string[] }).seen);
  await expect.poll(async () => (await seen()).length).toBeGreaterThan(1);
  await expect.poll(async () => (await seen()).at(-1)).toBe('0%');
  // The pointer started at its old position: to the left of the new one, by most of the board.
  expect(parseFloat((await seen())[0])).toBeLessThan(-50);
});

test('with reduced motion pointers jump', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  await grace.emulateMedia({ reducedMotion: 'reduce' });
  await connected(ada);
  await connected(grace);
  const box = (await ada.getByTestId('board').boundingBox())!;
  await ada.mouse.move(box.x + 20, box.y + 10);
  await expect(pointer(grace, 'Ada')).toBeVisible();
  const inner = pointer(grace, 'Ada').locator('svg');
  await inner.evaluate((inner) => {
    const seen: string[] = [];
    Object.assign(window, { seen });
    new MutationObserver(() => seen.push(inner.getAttribute('x')!)).observe(inner, { attributeFilter: ['x'] });
  });
  await ada.mouse.move(box.x + box.width - 20, box.y + 10);
  await expect.poll(async () => parseFloat((await pointer(grace, 'Ada').getAttribute('x'))!)).toBeGreaterThan(80);
  expect((await grace.evaluate(() => (window as unknown as { seen: string[] }).seen)).filter((x) => x !== '0%')).toEqual([]);
});

test('the pointer of a hidden tab hides', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  await connected(ada);
  await connected(grace);
  const box = (await ada.getByTestId('board').boundingBox())!;
  await ada.mouse.move(box.x + 20, box.y + 10);
  await expect(pointer(grace, 'Ada')).toBeVisible();
  await look(ada, true);
  await expect(pointer(grace, 'Ada')).toBeHidden();
  await look(ada, false);
  await ada.mouse.move(box.x + 40, box.y + 10);
  await expect(pointer(grace, 'Ada')).toBeVisible();
});

test('a pointer that rests for a minute is not shown any more, until it moves', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: grace } = await visit('Grace', '/collab');
  await connected(ada);
  await connected(grace);
  const box = (await ada.getByTestId('board').boundingBox())!;
  await ada.mouse.move(box.x + 20, box.y + 10);
  await expect(pointer(grace, 'Ada')).toBeVisible();
  await expect(pointer(grace, 'Ada')).not.toHaveClass(/stale/);
  // Only the clock changes; timers go on as they are.
  await grace.clock.setFixedTime(Date.now() + 61_000);
  await expect(pointer(grace, 'Ada')).toHaveClass(/stale/, { timeout: 10_000 });
  await ada.mouse.move(box.x + 40, box.y + 10);
  await expect(pointer(grace, 'Ada')).not.toHaveClass(/stale/);
});

test.describe('by touch', () => {
  test('a finger on the board moves the pointer, and lifted it is gone; on the text it edits', async ({ browser, baseURL, visit }) => {
    const { page: grace } = await visit('Grace', '/collab');
    const phone = await browser.newContext({ baseURL, hasTouch: true, isMobile: true, viewport: { width: 390, height: 760 } });
    await phone.request.post('/api/session/sign_in', { form: { name: 'Ada' } });
    const ada = await phone.newPage();
    await ada.goto('/collab');
    await connected(ada);
    await editable(ada);
    await connected(grace);
    const finger = await phone.newCDPSession(ada);
    const board = (await ada.getByTestId('board').boundingBox())!;
    // Below the paper is the bare board.
    const y = board.y + board.height - 14;
    const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', part?: number) =>
      finger.send('Input.dispatchTouchEvent', { type, touchPoints: part === undefined ? [] : [{ x: board.x + board.width * part, y }] });
    await touch('touchStart', 0.2);
    await expect(pointer(grace, 'Ada')).toBeVisible();
    await touch('touchMove', 0.5);
    await touch('touchMove', 0.8);
    await expect.poll(async () => Math.abs(parseFloat((await pointer(grace, 'Ada').getAttribute('x'))!) - 80)).toBeLessThan(1);
    expect(await ada.evaluate(() => scrollY)).toBe(0);
    await touch('touchEnd');
    await expect(pointer(grace, 'Ada')).toBeHidden();
    // The browser sometimes counts a tap within some milliseconds of a drag as part of it, and then focuses nothing.
    await expect(async () => {
      await text(ada).tap();
      await expect(text(ada)).toBeFocused({ timeout: 1_000 });
    }).toPass();
    await ada.keyboard.type('By touch');
    await expect(text(grace)).toHaveValue('By touch');
    await phone.close();
  });

  test.use({ viewport: { width: 375, height: 667 } });

  test('a phone shows long texts and long names without scrolling sideways', async ({ visit }) => {
    const { page: ada } = await visit('W'.repeat(32), '/collab');
    const { page: grace } = await visit('M'.repeat(32), '/collab');
    await editable(ada);
    await editable(grace);
    await text(ada).fill('W'.repeat(300));
    await expect(text(grace)).toHaveValue('W'.repeat(300));
    for (const page of [ada, grace]) {
      await expect(page.getByTestId('peer')).toHaveCount(1);
      await page.evaluate(() => scrollTo(10_000, 0));
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(375);
    }
  });
});
