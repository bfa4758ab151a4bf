import { once } from 'node:events';
import * as http from 'node:http';
import { WebSocket } from 'ws';
import { expect, test as base } from '../fixtures/app';
import { instructionsDuring } from '../fixtures/callgrind';
import { Exchange } from '../fixtures/exchange';

/**
 * Instructions of the server for one delivery, or for one page: what was reached, and a tenth more.
 */
const MOST = { event: 2_480, message: 4_050, plainPage: 1_130_000, compressedPage: 2_810_000 };
const CLIENTS = 50;
const TIMES = 20;
const PAGES = 20;

/** The limits that a single address would reach. */
const UNLIMITED = { 'max-connections-per-ip': 0, 'requests-per-second': 100_000 };

const test = base.extend<{ exchange: Exchange }>({
  exchange: async ({}, use) => {
    const exchange = await Exchange.start();
    await use(exchange);
    exchange.close();
  },
  flags: async ({ exchange }, use) => use({ ...UNLIMITED, feed: `coinbase:ws://127.0.0.1:${exchange.port}/`, products: 'BTC-USD' }),
});

/** Counts what many clients receive. */
class Arrivals {
  private count = 0;
  private awaited = Infinity;
  private arrived = () => {};

  add(arrivals: number): void {
    this.count += arrivals;
    if (this.count >= this.awaited) this.arrived();
  }

  /** Resolves when so many more have arrived since the last call. */
  async more(expected: number): Promise<void> {
    if (this.count < expected) await new Promise<void>((arrived) => Object.assign(this, { awaited: expected, arrived }));
    this.awaited = Infinity;
    this.count -= expected;
  }
}

function report(what: string, instructions: number, most: number): void {
  console.log(`${what}: ${Math.round(instructions)} instructions (at most ${most})`);
  expect(instructions, what).toBeLessThanOrEqual(most);
}

test('an event to a stream, each in a write of its own', async ({ server, exchange }) => {
  await exchange.subscribed();
  const arrivals = new Arrivals();
  const streams: http.ClientRequest[] = [];
  for (let client = 0; client < CLIENTS; client++) {
    const request = http.get(`${server.url}/api/ticker/events`, { agent: false });
    const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
    answer.setEncoding('utf8').on('data', (text: string) => arrivals.add(text.split('event: price\n').length - 1));
    answer.on('error', () => {});
    streams.push(request);
  }
  const send = async (price: number) => {
    exchange.price('BTC-USD', price);
    await arrivals.more(CLIENTS);
  };
  await send(100);
  const instructions = await instructionsDuring(server.pid, async () => {
    for (let time = 1; time <= TIMES; time++) await send(100 + time);
  });
  streams.forEach((stream) => stream.destroy());
  report('one event to one stream', instructions / CLIENTS / TIMES, MOST.event);
});

test('a stored message to a member of a room, each in a write of its own', async ({ server }) => {
  const arrivals = new Arrivals();
  const sockets: WebSocket[] = [];
  for (let client = 0; client < CLIENTS; client++) {
    const guest = await fetch(`${server.url}/api/session/guest`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' } });
    const { token } = (await guest.json()) as { token: string };
    const headers = { authorization: `Bearer ${token}` };
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/api/chat/socket`, 'wirewise.chat.v1', { headers, perMessageDeflate: false });
    const joined = new Promise<void>((done) => {
      socket.on('message', (data) => {
        const { type } = JSON.parse(`${data}`) as { type: string };
        if (type === 'message') arrivals.add(1);
        if (type === 'joined') done();
        if (type === 'error') throw new Error(`${data}`);
      });
    });
    await once(socket, 'open');
    socket.send(JSON.stringify({ type: 'join', room: 'lobby' }));
    await joined;
    sockets.push(socket);
  }
  const send = async (time: number) => {
    const id = crypto.randomUUID();
    sockets[time].send(JSON.stringify({ type: 'send', id, room: 'lobby', text: 'A message as people write them: a sentence or two.' }));
    await arrivals.more(CLIENTS);
  };
  await send(0);
  const instructions = await instructionsDuring(server.pid, async () => {
    for (let time = 1; time <= TIMES; time++) await send(time);
  });
  sockets.forEach((socket) => socket.terminate());
  report('one stored message to one member', instructions / CLIENTS / TIMES, MOST.message);
});

test('a page', async ({ server }) => {
  for (const [encoding, most] of [['identity', MOST.plainPage], ['br', MOST.compressedPage]] as const) {
    const render = async () => {
      const page = await fetch(`${server.url}/ticker`, { headers: { 'accept-encoding': encoding, accept: 'text/html' } });
      expect(await page.text()).toContain('</html>');
    };
    await render();
    const instructions = await instructionsDuring(server.pid, async () => {
      for (let time = 0; time < PAGES; time++) await render();
    });
    report(`one page (${encoding})`, instructions / PAGES, most);
  }
});
