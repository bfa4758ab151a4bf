import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { EventSource } from 'eventsource';
import { expect, test } from '../fixtures/app';

test.use({ flags: { 'tick-ms': 100, 'heartbeat-ms': 500 } });

/** Without a filter every offset is a price: n is followed by n + 1. */
function expectConsecutive(ids: string[], first: string): void {
  const [epoch, offset] = first.split('-');
  expect(ids).toEqual(ids.map((_, index) => `${epoch}-${Number(offset) + 1 + index}`));
}

test('the npm package eventsource reads the stream and resumes by itself after a cut', async ({ wire, nodes }) => {
  const source = new EventSource(`${wire.url}/api/ticker/events`);
  const hellos: { recovered: boolean; replayed: number }[] = [];
  const snapshots: string[] = [];
  const prices: string[] = [];
  source.addEventListener('hello', (event) => hellos.push(JSON.parse(event.data)));
  source.addEventListener('snapshot', (event) => {
    expect(JSON.parse(event.data).quotes).toHaveLength(24);
    snapshots.push(event.lastEventId);
  });
  source.addEventListener('price', (event) => {
    expect(JSON.parse(event.data)).toMatchObject({ type: 'price', symbol: expect.any(String), price: expect.any(Number) });
    prices.push(event.lastEventId);
  });
  await expect.poll(() => prices.length).toBeGreaterThan(30);
  wire.cut();
  // The server asked it to wait two seconds.
  await expect.poll(() => hellos.length, { timeout: 15_000 }).toBe(2);
  const before = prices.length;
  await expect.poll(() => prices.length).toBeGreaterThan(before + 30);
  source.close();
  expect(hellos.map((hello) => hello.recovered)).toEqual([false, true]);
  expect(hellos[1].replayed).toBeGreaterThan(0);
  expect(snapshots).toHaveLength(1);
  if (nodes === 1) return expectConsecutive(prices, snapshots[0]);
  // Prices of another node may come together, and then only the newest of a symbol is sent.
  const offsets = [snapshots[0], ...prices].map((id) => Number(id.split('-')[1]));
  expect(new Set(prices.map((id) => id.split('-')[0])).size).toBe(1);
  expect(offsets).toEqual([...new Set(offsets)].toSorted((one, other) => one - other));
});

test('curl sees the event that takes two data lines', async ({ server }) => {
  const curl = spawn('curl', ['--silent', '--no-buffer', '--fail', `${server.url}/api/compare/events?note=1`]);
  const lines: string[] = [];
  for await (const line of createInterface({ input: curl.stdout })) {
    if (line === 'event: pulse') break;
    lines.push(line);
  }
  curl.kill();
  const note = lines.slice(lines.indexOf('event: note') + 1);
  expect(note.slice(0, note.indexOf(''))).toEqual(['data: {"type":"note",', expect.stringMatching(/^data: "text":".*"\}$/)]);
});

test('curl reads the stream, and resumes with a header', async ({ server }) => {
  /** The ids of the first prices, and the id they follow. */
  const read = async (count: number, lastEventId?: string) => {
    const headers = lastEventId ? ['--header', `Last-Event-ID: ${lastEventId}`] : [];
    const curl = spawn('curl', ['--silent', '--no-buffer', '--fail', ...headers, `${server.url}/api/ticker/events`]);
    const prices: string[] = [];
    let first = lastEventId;
    let id = '';
    for await (const line of createInterface({ input: curl.stdout })) {
      if (line.startsWith('id: ')) id = line.slice(4);
      if (line === 'event: snapshot') first = id;
      if (line === 'event: price' && prices.push(id) === count) break;
    }
    curl.kill();
    return { prices, first: first! };
  };
  const one = await read(40);
  expectConsecutive(one.prices, one.first);
  const two = await read(40, one.prices.at(-1));
  expectConsecutive(two.prices, one.prices.at(-1)!);
});
