import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';
import { connected, expect, test } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';
import { editable, saved, text, typeAt } from '../fixtures/collab';

// The HTML parser drops U+0000, so a text of nothing else had no node, and hydration failed there. Each page must stay
// alive whatever is stored. Every test also checks that no page reports an error.

/** Has the length of the JSON escape of a NUL, which replaces it in the database. */
const PLACEHOLDER = 'NULNUL';
const ESCAPED_NUL = '\\u0000';
const SHOWN_NUL = '\ufffd';
/** An unoptimised page may be slow on a busy machine. */
const LOADED_WITHIN_MS = 30_000;

test('a room with messages of an older server that contain a NUL is alive', async ({ server, visit }) => {
  const ada = await visit('Ada', '/chat');
  await connected(ada.page, LOADED_WITHIN_MS);
  for (const message of [PLACEHOLDER, `${PLACEHOLDER}http://a.example${PLACEHOLDER}`]) await say(ada.page, message);
  await expect(texts(ada.page)).toHaveCount(2);
  await ada.context.close();
  await server.stop();
  await server.rewriteDatabase(PLACEHOLDER, ESCAPED_NUL);
  await server.start();

  const { page } = await visit('Grace', '/chat');
  await connected(page, LOADED_WITHIN_MS);
  await say(page, 'It lives');
  await expect(texts(page)).toHaveText([SHOWN_NUL, `${SHOWN_NUL}http://a.example${SHOWN_NUL}`, 'It lives']);
  await expect(page.getByTestId('link')).toHaveAttribute('href', 'http://a.example');
});

test('a page is alive whatever error its address contains', async ({ page }) => {
  const error = Buffer.from(JSON.stringify({ error: '\0' })).toString('base64');
  await page.goto(`/chat?__path=${encodeURIComponent('/api/session/sign_in')}&__err=${encodeURIComponent(error)}`);
  await connected(page, LOADED_WITHIN_MS);
  await expect(page.getByTestId('name-refusal')).toHaveText(SHOWN_NUL);
  await say(page, 'It lives');
  await expect(texts(page)).toHaveText(['It lives']);
});

test('a document in which a stock Yjs client wrote what HTML cannot represent is alive', async ({ server, visit }) => {
  const doc = new Y.Doc();
  const written = doc.getText('content');
  const provider = new WebsocketProvider(`${server.url.replace('http', 'ws')}/api/collab`, 'strange', doc, {
    WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
    disableBc: true,
  });
  try {
    await expect.poll(() => provider.synced).toBe(true);
    written.insert(0, '\nfirst\0\r\nsecond\r\ufffe');
    const { page } = await visit('Grace', '/collab/strange');
    await editable(page);
    await expect(text(page)).toHaveValue('\nfirst\0\nsecond\n\ufffe');
    await typeAt(page, 1, 'the ');
    await saved(page);
    await expect.poll(() => written.toString()).toBe('\nthe first\0\r\nsecond\r\ufffe');
    await page.reload();
    await editable(page);
    await expect(text(page)).toHaveValue('\nthe first\0\nsecond\n\ufffe');
  } finally {
    provider.destroy();
    doc.destroy();
  }
});

test.describe('a feed with names of any characters', () => {
  const file = join(mkdtempSync(join(tmpdir(), 'wirewise-feed-')), 'prices.csv');
  writeFileSync(file, 'timestamp,symbol,price\n1,\0,1\n1,"\r",1\n1,"A\0B",1\n1,\ufffe,1\n1,GOOD,2\n');
  test.use({ flags: { feed: `replay:${file}` } });

  test('shows the valid ones and is alive', async ({ page }) => {
    await page.goto('/ticker');
    await connected(page, LOADED_WITHIN_MS);
    await expect(page.getByTestId('price-row')).toHaveCount(1);
    await expect(page.getByTestId('price-row')).toContainText('GOOD');
  });
});
