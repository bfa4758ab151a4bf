import type { Locator, Page } from '@playwright/test';
import { BROKEN_CONNECTION, connected, expect, markDocument, openGuide, pageLink, sameDocument, states, test } from '../fixtures/app';

type Transport = 'SSE' | 'WebSocket';

function lane(page: Page, transport: Transport): Locator {
  return page.locator(`[data-test=lane][data-transport=${transport}]`);
}

async function count(lane: Locator, figure: string): Promise<number> {
  return Number((await lane.getByTestId(`lane-${figure}`).textContent())!.replaceAll(',', ''));
}

async function counts(lane: Locator, atLeast: number): Promise<void> {
  await expect.poll(() => count(lane, 'messages')).toBeGreaterThanOrEqual(atLeast);
}

async function start(page: Page): Promise<void> {
  await openGuide(page);
  await page.getByTestId('compare-toggle').click();
  await Promise.all((['SSE', 'WebSocket'] as const).map((transport) => counts(lane(page, transport), 20)));
}

/** Drops a connection and waits until messages arrive over a new one. */
async function drop(one: Locator): Promise<void> {
  const before = await count(one, 'messages');
  const seen = await states(one.getByTestId('status'));
  await one.getByTestId('drop').click();
  await expect.poll(seen).toContain('waiting');
  await expect(one.getByTestId('lane-back')).toHaveText(/^\d+ ms$/);
  await counts(one, before + 10);
}

test.describe('the live comparison', () => {
  test('the bytes of the stream show an event on two data lines, which a client joins', async ({ page, server }) => {
    await openGuide(page);
    await page.getByTestId('raw-toggle').click();
    const bytes = page.getByTestId('raw-bytes');
    await expect(bytes).toContainText(/^: wirewise compare\nretry: 2000\nevent: hello\ndata: .*\n\nid: .*\nevent: note\ndata: \{"type":"note",\ndata: "text":.*\}\n\nid: .*\nevent: pulse\n/);
    await expect(page.getByTestId('raw-note')).toContainText('A client joins them with a line feed');
    // The page has read the beginning, and keeps no connection open.
    await expect.poll(() => server.openConnections('compare')).toBe(0);
    // The `EventSource` of the browser, at the same address.
    const data = await page.evaluate(
      () =>
        new Promise<string>((joined) => {
          const source = new EventSource('/api/compare/events?note=1');
          source.addEventListener('note', (event) => {
            source.close();
            joined(event.data);
          });
        }),
    );
    expect(data.split('\n')).toHaveLength(2);
    expect(JSON.parse(data)).toEqual({ type: 'note', text: await page.getByTestId('raw-note').textContent() });
  });

  test('the guide opens no connection until it is started, and closes both on stop and when the page is left', async ({ page, server }) => {
    await openGuide(page);
    expect(await server.openConnections('compare')).toBe(0);
    await page.getByTestId('compare-toggle').click();
    await expect.poll(() => server.openConnections('compare')).toBe(2);
    await page.getByTestId('compare-toggle').click();
    await expect.poll(() => server.openConnections('compare')).toBe(0);
    await expect(page.getByTestId('lane')).toHaveCount(2);
    await page.getByTestId('compare-toggle').click();
    await expect.poll(() => server.openConnections('compare')).toBe(2);
    await pageLink(page, 'Progress').click();
    await expect(page).toHaveURL('/progress');
    await expect.poll(() => server.openConnections('compare')).toBe(0);
  });

  test('both series count the same messages and show what each costs', async ({ page }) => {
    await start(page);
    for (const transport of ['SSE', 'WebSocket'] as const) {
      const one = lane(page, transport);
      await expect(one.getByTestId('lane-p50')).toHaveText(/^\d+\.\d ms$/);
      await expect(one.getByTestId('lane-p99')).toHaveText(/^\d+\.\d ms$/);
      await expect(one.getByTestId('lane-back')).toHaveText('–');
      expect(await count(one, 'missed')).toBe(0);
    }
    const bytes = async (transport: Transport) => (await lane(page, transport).getByTestId('lane-bytes').textContent())!.match(/\d+/g)!.map(Number);
    const [[payload, aroundEvent], [, aroundFrame]] = [await bytes('SSE'), await bytes('WebSocket')];
    expect(payload).toBeGreaterThan(40);
    expect(aroundEvent).toBeGreaterThan(30);
    expect(aroundFrame).toBe(2);
  });

  test('a dropped stream comes back with everything it missed', async ({ page }) => {
    await start(page);
    const events = lane(page, 'SSE');
    await drop(events);
    // Half a second at least, at twenty messages a second.
    expect(await count(events, 'replayed')).toBeGreaterThan(5);
    expect(await count(events, 'missed')).toBe(0);
  });

  test('a dropped socket comes back and has missed something', async ({ page }) => {
    await start(page);
    const socket = lane(page, 'WebSocket');
    await drop(socket);
    expect(await count(socket, 'missed')).toBeGreaterThan(5);
    expect(await count(socket, 'replayed')).toBe(0);
  });

  test('both are dropped at once: the feed went on meanwhile', async ({ page }) => {
    await start(page);
    await page.getByTestId('drop-both').click();
    for (const transport of ['SSE', 'WebSocket'] as const) await expect(lane(page, transport).getByTestId('lane-back')).toHaveText(/^\d+ ms$/);
    await expect.poll(() => count(lane(page, 'SSE'), 'replayed')).toBeGreaterThan(5);
    await expect.poll(() => count(lane(page, 'WebSocket'), 'missed')).toBeGreaterThan(5);
  });
});

test.describe('the decision tree', () => {
  /** Keys to press, from the first answer of the first question: down goes to the next answer, Tab to the next question. */
  const ways: [string, string[]][] = [
    ['A question and an answer', ['Space']],
    ['Notifications', ['Tab', 'Space']],
    ['Monitoring', ['Tab', 'Space', 'ArrowDown']],
    ['Progress', ['Tab', 'Space', 'ArrowDown', 'ArrowDown']],
    ['Chat', ['Space', 'ArrowDown', 'ArrowDown', 'Tab', 'Space']],
    ['Games', ['Space', 'ArrowDown', 'ArrowDown', 'Tab', 'Space', 'ArrowDown', 'Tab', 'Space']],
    ['Collaboration', ['Space', 'ArrowDown', 'ArrowDown', 'Tab', 'Space', 'ArrowDown', 'Tab', 'Space', 'ArrowDown']],
  ];

  for (const [name, keys] of ways) {
    test(`leads to an outcome by keyboard: ${name}`, async ({ page }) => {
      await openGuide(page);
      const tree = page.getByTestId('tree');
      await tree.getByRole('radio').first().focus();
      for (const key of keys) await page.keyboard.press(key);
      await expect(page.getByTestId('tree-words')).toContainText(`${name}: `);
      // The path to the outcome is highlighted from the first question, and nothing else.
      const outcome = page.locator(`[data-test=outcome][data-name="${name}"]`);
      await expect(tree.locator('li[data-given] > [data-test=outcome]')).toHaveCount(1);
      await expect(outcome.locator('xpath=..')).toHaveAttribute('data-given', '');
      await expect(tree.getByRole('radio', { checked: true })).toHaveCount(await outcome.locator('xpath=ancestor::li').count());

      await page.getByTestId('tree-again').click();
      await expect(tree.locator('li[data-given]')).toHaveCount(0);
      await expect(tree.getByRole('radio', { checked: true })).toHaveCount(0);
    });
  }

  test('an answer deep in the tree gives those that lead to it', async ({ page }) => {
    await openGuide(page);
    await page.getByRole('radio', { name: 'Each one counts' }).check();
    for (const name of ['Yes, while it listens', 'Many times a second']) await expect(page.getByRole('radio', { name })).toBeChecked();
    await expect(page.getByTestId('tree-words')).toHaveText('Collaboration: WebSocket.');
  });
});

test('the row for monitoring leads to figures that move', async ({ page }) => {
  await openGuide(page);
  await page.getByRole('row', { name: /^Monitoring/ }).getByRole('link', { name: '/#live' }).click();
  await expect(page).toHaveURL('/#live');
  await expect(page.locator('#live')).toBeInViewport();
  await page.getByTestId('compare-toggle').click();
  const messages = page.getByTestId('lane-messages').first();
  await expect(messages).not.toHaveText('0');
});

test('every link to the source shows a file that holds what the link is about', async ({ page }) => {
  await page.goto('/');
  const links = await page.getByTestId('source').evaluateAll((links) => links.map((link) => link.getAttribute('href')!));
  expect(links.length).toBeGreaterThan(50);
  for (const [path, text] of links.map((link) => link.split('#:~:text='))) {
    const answer = await page.request.get(path);
    expect(answer.status(), path).toBe(200);
    expect(answer.headers()['content-type']).toBe('text/plain; charset=utf-8');
    expect(await answer.text(), path).toContain(decodeURIComponent(text ?? ''));
  }
  expect((await page.request.get('/source/Cargo.lock')).status()).toBe(404);
});

test('the guide that the router opens has its texts, and a place in them can be linked to', async ({ page }) => {
  await page.goto('/ticker');
  await connected(page);
  await markDocument(page);
  await page.getByRole('link', { name: 'Wirewise' }).click();
  await expect(page.getByTestId('comparison').locator('tbody tr')).toHaveCount(17);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Two ways to keep a page live');
  // A link in a text is followed by the router, as those of the app.
  await page.getByRole('link', { name: 'the chat', exact: true }).click();
  await expect(page).toHaveURL(/\/chat/);
  await connected(page);
  await page.goBack();
  await expect(page.getByTestId('rules').locator('li')).toHaveCount(8);
  expect(await sameDocument(page)).toBe(true);
});

test.describe('chosen while the connection is cut', () => {
  test.use({ tolerated: new RegExp(`${BROKEN_CONNECTION.source}|Failed to fetch`) });

  test('the guide that the visitor came from opens at once', async ({ page, context }) => {
    await openGuide(page);
    await pageLink(page, 'Ticker').click();
    await connected(page);
    await context.setOffline(true);
    await page.goBack();
    await expect(page.getByTestId('comparison').locator('tbody tr')).toHaveCount(17);
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('Two ways to keep a page live');
  });

  test('the guide opens with its texts after the connection recovers', async ({ page, context }) => {
    await page.goto('/ticker');
    await connected(page);
    await markDocument(page);
    await context.setOffline(true);
    await page.getByRole('link', { name: 'Wirewise' }).click();
    await expect(page.getByTestId('awaited-page')).toHaveText(/could not be loaded/);
    await context.setOffline(false);
    await expect(page.getByTestId('comparison').locator('tbody tr')).toHaveCount(17);
    await expect(page.getByTestId('awaited-page')).toBeEmpty();
    expect(await sameDocument(page)).toBe(true);
  });
});

test('a link to the source leaves the app for the file', async ({ page }) => {
  await openGuide(page);
  await page.getByTestId('comparison').getByTestId('source').first().click();
  await expect(page.locator('body')).toContainText('pub trait StreamContract');
});

test('a phone shows every cell of the tables without scrolling sideways, with its name', async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  await page.goto('/');
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
  for (const [table, names] of Object.entries({ comparison: ['Server-Sent Events', 'WebSocket'], recommendations: ['Reason', 'A lost message costs'] })) {
    const rows = page.getByTestId(table).locator('tbody tr');
    for (const row of await rows.all()) {
      for (const cell of await row.locator('th, td').all()) {
        const { x, width } = (await cell.boundingBox())!;
        expect(x).toBeGreaterThanOrEqual(0);
        expect(x + width).toBeLessThanOrEqual(390);
      }
      const shown = await row.locator('td').evaluateAll((cells) => cells.map((cell) => getComputedStyle(cell, '::before').content));
      expect(shown.filter((name) => name !== 'none')).toEqual(names.map((name) => `"${name}"`));
    }
    // For screen readers it is still a table.
    await expect(page.getByTestId(table).getByRole('columnheader', { name: names[1] })).toHaveCount(1);
  }
});

test.describe('without JavaScript', () => {
  test.use({ javaScriptEnabled: false });

  test('tables, rules and the whole tree can be read', async ({ page }) => {
    await page.goto('/');
    await expect(page.getByTestId('comparison').locator('tbody tr')).toHaveCount(17);
    await expect(page.getByTestId('recommendations').locator('tbody tr')).toHaveCount(7);
    await expect(page.getByTestId('rules').getByRole('listitem')).toHaveCount(8);
    await expect(page.getByTestId('rules')).toContainText('HTTPS and WSS');
    const outcomes = page.getByTestId('outcome');
    await expect(outcomes).toHaveCount(7);
    for (const outcome of await outcomes.all()) await expect(outcome).toBeVisible();
    await expect(page.getByTestId('compare-toggle')).toBeDisabled();
    await expect(page.locator('noscript .notice')).toBeVisible();
  });
});
