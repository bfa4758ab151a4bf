import type { Page } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';

const FIRST_PAINT_MS = 1_000;
const LAYOUT_SHIFT = 0.02;
/** The factor by which the processor is slowed down. */
const SLOWDOWN = 4;
/** Late layout shifts happen within this time after the first event. */
const WATCHED_MS = 3_000;

const VIEWPORTS = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

/** The first contentful paint in ms, the sum of all layout shifts, and what shifted. */
async function measured(page: Page): Promise<{ paint: number; shift: number; shifted: string[] }> {
  return page.evaluate(async () => {
    type Shift = PerformanceEntry & { value: number; sources: { node: Node | null }[] };
    const shifts: Shift[] = await new Promise((done) => {
      new PerformanceObserver((list) => done(list.getEntries() as Shift[])).observe({ type: 'layout-shift', buffered: true });
      // If nothing shifted, the observer is never called.
      setTimeout(() => done([]), 500);
    });
    const named = ({ node }: { node: Node | null }) => (node instanceof Element ? node.outerHTML.slice(0, 100) : `${node?.nodeName}`);
    return {
      paint: performance.getEntriesByName('first-contentful-paint')[0].startTime,
      shift: shifts.reduce((sum, shift) => sum + shift.value, 0),
      shifted: shifts.flatMap((shift) => shift.sources.map((source) => `${shift.value.toFixed(4)} ${named(source)}`)),
    };
  });
}

for (const [device, viewport] of Object.entries(VIEWPORTS)) {
  test.describe(`on a slow ${device}`, () => {
    test.use({ viewport });

    for (const path of ['/', '/ticker', '/progress', '/chat', '/collab']) {
      test(`${path} is painted at once, and nothing moves`, async ({ page }) => {
        const devtools = await page.context().newCDPSession(page);
        await devtools.send('Emulation.setCPUThrottlingRate', { rate: SLOWDOWN });
        await page.goto(path);
        if (path !== '/' && path !== '/progress') await connected(page, 30_000);
        await page.waitForTimeout(WATCHED_MS);
        const { paint, shift, shifted } = await measured(page);
        console.log(`${path} ${device}: ${paint.toFixed(0)} ms, ${shift.toFixed(4)}`);
        expect(paint).toBeLessThan(FIRST_PAINT_MS);
        expect(shift, shifted.join('\n')).toBeLessThanOrEqual(LAYOUT_SHIFT);
      });
    }
  });
}
