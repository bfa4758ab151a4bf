import AxeBuilder from '@axe-core/playwright';
import type { Page } from '@playwright/test';
import { caret, editable, select, text } from '../fixtures/collab';
import { say, texts } from '../fixtures/chat';
import { BROKEN_CONNECTION, chooseUnreachable, connected, expect, status, test, type Visitor } from '../fixtures/app';

const VIEWPORTS = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const SCHEMES = ['light', 'dark'] as const;

/** Runs all rules of axe, whatever their impact, and reports every finding in full. */
async function expectNothingFound(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const found = violations.flatMap(({ id, impact, nodes }) => nodes.map((node) => `${id} (${impact}): ${node.html}\n${node.failureSummary}`));
  expect(found.join('\n\n')).toBe('');
}

async function startJob({ context }: Visitor, steps: number): Promise<string> {
  const form = { kind: 'countdown', steps: `${steps}`, step_ms: '100' };
  const answer = await context.request.post('/api/jobs/start', { form });
  return (await answer.json()).id;
}

for (const colorScheme of SCHEMES) {
  for (const [device, viewport] of Object.entries(VIEWPORTS)) {
    test.describe(`axe finds nothing, ${colorScheme}, on a ${device}:`, () => {
      // Reduced motion, because axe must not judge colours in the middle of a transition.
      test.use({ colorScheme, viewport, contextOptions: { reducedMotion: 'reduce' } });

      test('the guide', async ({ page }) => {
        await page.goto('/');
        await expectNothingFound(page);
      });

      test('the ticker, live', async ({ page }) => {
        await page.goto('/ticker');
        await connected(page);
        await expectNothingFound(page);
        await page.getByTestId('picker-open').click();
        await page.getByTestId('filter').fill('nobody is called that');
        await expect(page.getByTestId('no-rows')).toBeVisible();
        await expectNothingFound(page);
      });

      test('jobs, and one that runs', async ({ visit }) => {
        const visitor = await visit('Ada', '/progress');
        await expectNothingFound(visitor.page);
        await visitor.page.goto(`/progress/${await startJob(visitor, 1_000)}`);
        await connected(visitor.page);
        await expectNothingFound(visitor.page);
      });

      test('a chat with messages, a search, and a refusal', async ({ visit }) => {
        const { page } = await visit('Ada', '/chat');
        const { page: grace } = await visit('Grace', '/chat');
        await connected(page);
        await connected(grace);
        await say(grace, 'Hello, see https://example.com');
        await say(page, 'Hello');
        await expect(texts(page)).toHaveCount(2);
        await expectNothingFound(page);
        await page.getByTestId('name').fill('x'.repeat(33));
        await page.getByTestId('name').press('Enter');
        await expect(page.getByTestId('name-refusal')).toBeVisible();
        await page.getByPlaceholder('Search in this room').fill('hello');
        await page.getByTestId('find').click();
        await expect(page.getByTestId('result')).toHaveCount(2);
        await expectNothingFound(page);
      });

      test('a text that another user edits', async ({ visit }) => {
        const { page } = await visit('Ada', '/collab');
        const { page: grace } = await visit('Grace', '/collab');
        await editable(page);
        await editable(grace);
        await text(grace).fill('Written by Grace');
        await select(grace, 3, 8);
        await expect(caret(page, 'Grace')).toBeVisible();
        await expectNothingFound(page);
      });

      test.describe('with faults allowed', () => {
        test.use({ flags: { 'allow-faults': 'true', 'heartbeat-ms': 1_000 } });

        test('the inspector, in each of its tabs, and the result of a fault', async ({ page }) => {
          // axe reads a long list of frames four times, which takes long on a busy machine.
          test.setTimeout(180_000);
          await page.goto('/ticker');
          await connected(page);
          await page.getByTestId('inspector-toggle').click();
          await page.getByTestId('frame').first().click();
          await page.getByTestId('fault-duplicate_id').click();
          await expect(page.getByTestId('trial')).toHaveAttribute('data-state', 'done');
          await expectNothingFound(page);
          for (const tab of ['raw', 'handshakes', 'frames']) {
            await page.getByTestId(`inspector-${tab}`).click();
            await expectNothingFound(page);
          }
        });

        test('an inspector whose raw tab has nothing to show', async ({ visit }) => {
          const visitor = await visit('Ada', '/progress');
          const { page } = visitor;
          // The job is ended by hand. The page of a job that had ended before it was opened would have neither stream
          // nor inspector.
          await page.goto(`/progress/${await startJob(visitor, 1_000)}`);
          await connected(page);
          await page.getByTestId('inspector-toggle').click();
          await page.getByTestId('cancel').click();
          await expect(page.getByTestId('job')).toHaveAttribute('data-status', 'Cancelled');
          await page.getByTestId('inspector-raw').click();
          await expect(page.getByTestId('raw-ended')).toBeVisible();
          await expectNothingFound(page);
        });
      });

      test('the comparison, while it runs', async ({ page }) => {
        await page.goto('/');
        await page.getByTestId('compare-toggle').click();
        await expect(page.getByTestId('lane-p50').first()).toHaveText(/\d/);
        await expectNothingFound(page);
      });

      test.describe('at an unknown address', () => {
        test.use({ tolerated: new RegExp(`status of 404|Failed to fetch|${BROKEN_CONNECTION.source}`) });

        test('the page for unknown addresses', async ({ page }) => {
          await page.goto('/nothing-here');
          await expectNothingFound(page);
        });

        test('the notice of a page that could not be loaded', async ({ page }) => {
          await page.goto('/ticker');
          await connected(page);
          await chooseUnreachable(page, 'Collab');
          await expectNothingFound(page);
        });
      });
    });
  }
}

test.describe('without a server', () => {
  test.use({ tolerated: /net::ERR_/, contextOptions: { reducedMotion: 'reduce' } });

  test('a lost connection is described in words, and axe finds nothing', async ({ page, server }) => {
    await page.goto('/ticker');
    await connected(page);
    await server.stop();
    await expect(status(page)).toHaveAttribute('data-state', 'waiting');
    await expect(page.getByTestId('status-words')).toContainText('Connection lost');
    await expectNothingFound(page);
  });
});

test('the keyboard reaches everything in the header, in the order in which it stands', async ({ page }) => {
  await page.goto('/ticker');
  await connected(page);
  const focused = page.locator(':focus');
  const step = async () => {
    await page.keyboard.press('Tab');
    // The focused element shows that it has the focus.
    const rings = await focused.evaluate((element) => [element, element.closest('form')].map((it) => it && getComputedStyle(it).outlineStyle));
    expect(rings).toContain('solid');
  };
  await step();
  await expect(focused).toHaveText('Skip to the content');
  await expect(focused).toBeInViewport();
  for (const name of ['Wirewise', 'Ticker', 'Progress', 'Chat', 'Collab']) {
    await step();
    await expect(focused).toHaveAccessibleName(name);
  }
  await step();
  await expect(focused).toHaveAccessibleName('Your name');
  await page.keyboard.type('Countess');
  await step();
  await expect(focused).toHaveAccessibleName('Rename');
  await page.keyboard.press('Enter');
  await expect(page.getByTestId('name')).toHaveValue('Countess');
  for (const name of ['Sign out', 'As the system', 'Light', 'Dark']) {
    await step();
    await expect(focused).toHaveAccessibleName(name);
  }
  await page.keyboard.press('Enter');
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  await step();
  await expect(page.locator('main').locator(':focus')).toHaveCount(1);
});

test('a focused element is not behind the inspector', async ({ page }) => {
  await page.goto('/ticker');
  await connected(page);
  await page.getByTestId('filter').focus();
  // More elements than fit into the window.
  for (let step = 0; step < 40; step++) {
    await page.keyboard.press('Tab');
    const covered = await page.evaluate(() => {
      const focused = document.activeElement!;
      const { left, top, width, height } = focused.getBoundingClientRect();
      const [x, middle] = [left + width / 2, top + height / 2];
      const inPanel = focused.closest('.inspector');
      return inPanel || focused === document.body ? [] : [top + 2, middle, top + height - 2].filter((y) => !focused.contains(document.elementFromPoint(x, y)));
    });
    expect(covered, await page.evaluate(() => document.activeElement!.outerHTML.slice(0, 100))).toEqual([]);
  }
});

test('the first key leads past the header', async ({ page }) => {
  await page.goto('/chat');
  await connected(page);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  await expect(page.locator('main').locator(':focus')).toHaveCount(1);
});

for (const path of ['/', '/ticker', '/progress', '/chat', '/collab']) {
  test(`what can be pressed on ${path} is at least 24 pixels in size`, async ({ page }) => {
    await page.goto(path);
    if (path !== '/' && path !== '/progress') await connected(page);
    const small = await page.locator('button, summary, input, textarea, nav a').evaluateAll((targets) =>
      targets
        // A control within a larger label is pressed with the label.
        .map((target) => ({ target, box: (target.closest('label') ?? target).getBoundingClientRect() }))
        .filter(({ box }) => box.width > 0 && (box.width < 24 || box.height < 24))
        .map(({ target, box }) => `${target.outerHTML.slice(0, 120)}: ${box.width} x ${box.height}`),
    );
    expect(small).toEqual([]);
  });
}
