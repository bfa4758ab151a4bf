import { WebSocket } from 'ws';
import { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';
import { BROKEN_CONNECTION, expect, test } from '../fixtures/app';
import { caret, editable, saved, select, text } from '../fixtures/collab';

/** One client's connection is cut on purpose. */
test.use({ tolerated: BROKEN_CONNECTION });

/** An unmodified client, used as its documentation shows: no cookie, no subprotocol. */
class Stock {
  readonly doc = new Y.Doc();
  readonly text = this.doc.getText('content');
  readonly provider: WebsocketProvider;

  constructor(server: string, room: string, user: { name: string; color: string }, params: Record<string, string> = {}) {
    const address = `${server.replace('http', 'ws')}/api/collab`;
    this.provider = new WebsocketProvider(address, room, this.doc, {
      WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
      // Without this, two clients in one process would exchange updates directly, not through the server.
      disableBc: true,
      maxBackoffTime: 200,
      params,
    });
    this.provider.awareness.setLocalStateField('user', user);
  }

  /** Sets the caret in the format of the Yjs editors. */
  putCaret(at: number): void {
    const position = Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(this.text, at));
    this.provider.awareness.setLocalStateField('cursor', { anchor: position, head: position });
  }

  /** The states of the other clients, by name. */
  others(): Map<string, { cursor?: { head: object } }> {
    const states = [...this.provider.awareness.getStates()].filter(([client]) => client !== this.doc.clientID);
    return new Map(states.map(([, state]) => [state.user?.name, state]));
  }

  stateVector(): Record<string, number> {
    return Object.fromEntries(Y.decodeStateVector(Y.encodeStateVector(this.doc)));
  }

  leave(): void {
    this.provider.destroy();
    this.doc.destroy();
  }
}

let stock: Stock[] = [];

test.afterEach(() => {
  stock.forEach((client) => client.leave());
  stock = [];
});

function join(server: string, room: string, name: string): Stock {
  const client = new Stock(server, room, { name, color: '#30bced' });
  stock.push(client);
  return client;
}

test('stock Yjs clients and the page write one text, apart and together', async ({ baseURL, wire, visit }) => {
  const ada = join(baseURL!, 'interop', 'Ada');
  // The connection of Grace can be cut.
  const grace = join(wire.url, 'interop', 'Grace');
  const { page: joan } = await visit('Joan', '/collab/interop');
  await editable(joan);

  ada.text.insert(0, 'Grüße, 世界 🦀\n');
  await expect(text(joan)).toHaveValue('Grüße, 世界 🦀\n');
  await text(joan).press('End');
  await select(joan, 13);
  await joan.keyboard.type('from the page');
  await expect.poll(() => grace.text.toString()).toBe('Grüße, 世界 🦀\nfrom the page');

  // While she is cut off, Grace pastes 300 KB; the others go on writing.
  wire.swallow();
  const pasted = 'Pasted while away. '.repeat(16_000).slice(0, 300_000);
  grace.text.insert(0, pasted);
  ada.text.delete(0, 7);
  // What is typed while a deletion arrives at the same place may stand on both sides of it, and Grace's text between.
  await expect(text(joan)).toHaveValue('世界 🦀\nfrom the page');
  await select(joan, 0);
  await joan.keyboard.type('Joan: ');
  await expect.poll(() => ada.text.toString()).toContain('Joan: ');
  wire.pass();
  wire.cut();

  await expect.poll(() => ada.text.length, { timeout: 20_000 }).toBeGreaterThan(300_000);
  const whole = () => ada.text.toString();
  await expect.poll(() => grace.text.toString() === whole()).toBe(true);
  await expect.poll(async () => (await text(joan).inputValue()) === whole()).toBe(true);
  expect(whole()).toContain(pasted);
  expect(whole()).toContain('Joan: ');
  expect(whole()).not.toContain('Grüße');
  expect(whole()).toContain('世界 🦀\nfrom the page');

  // The clocks are the same too, for a client that connects only now and for the page, which has them from the server.
  const late = join(baseURL!, 'interop', 'Late');
  await expect.poll(() => late.text.toString() === whole()).toBe(true);
  expect(grace.stateVector()).toEqual(ada.stateVector());
  expect(late.stateVector()).toEqual(ada.stateVector());
  await saved(joan);
});

test('carets and names are seen both ways', async ({ baseURL, visit }) => {
  const ada = join(baseURL!, 'carets', 'Ada');
  const { page: joan } = await visit('Joan', '/collab/carets');
  await editable(joan);
  ada.text.insert(0, 'one two three');
  await expect(text(joan)).toHaveValue('one two three');
  ada.putCaret(4);
  await expect(caret(joan, 'Ada')).toHaveText('Ada');
  await expect(joan.getByTestId('peer').filter({ hasText: 'Ada' })).toBeVisible();

  await select(joan, 8);
  await expect.poll(() => ada.others().get('Joan')?.cursor).toBeTruthy();
  const seen = (): number | undefined => {
    const head = ada.others().get('Joan')?.cursor?.head;
    const position = head && Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(head), ada.doc);
    return position?.index;
  };
  await expect.poll(seen).toBe(8);
  // The caret stays between the same words.
  ada.text.insert(0, 'zero ');
  await expect.poll(seen).toBe(13);

  ada.leave();
  stock = [];
  await expect(caret(joan, 'Ada')).toHaveCount(0);
});

test('a read-only stock client is notified and goes on reading', async ({ baseURL }) => {
  const ada = join(baseURL!, 'readonly', 'Ada');
  const grace = new Stock(baseURL!, 'readonly', { name: 'Grace', color: '#30bced' }, { readonly: '1' });
  stock.push(grace);
  ada.text.insert(0, 'to be read');
  await expect.poll(() => grace.text.toString()).toBe('to be read');
  grace.text.insert(0, 'not ');
  ada.text.insert(10, '!');
  await expect.poll(() => grace.text.toString()).toBe('not to be read!');
  const late = join(baseURL!, 'readonly', 'Late');
  await expect.poll(() => late.text.toString()).toBe('to be read!');
});
