import type { Page } from '@playwright/test';
import { BAD_GATEWAY, BROKEN_CONNECTION, expect, test } from '../fixtures/app';
import { deployed, replaced, ReverseProxy, type Kind } from '../fixtures/reverse-proxy';
import type { Flags, Server } from '../fixtures/server';
import * as probe from './probes';
import { ServerSide } from './server-side';

/** What a probe may use. */
interface Place {
  url: string;
  proxy: ReverseProxy;
  server: Server;
  page: Page;
  /** Stands between the proxy and the server, in a row that asks for it. */
  serverSide: ServerSide;
}

interface Row {
  /** What is removed: a line of the file, or words of it. */
  removed: string;
  flags?: Flags;
  /** Whether the probe looks at the connections between the proxy and the server. */
  looksBehind?: true;
  probe: (place: Place) => Promise<unknown>;
  /** What the probe finds with the whole file, and without the line. */
  whole: unknown;
  without: unknown;
}

/** More than a worker can open without the two lines about limits: 512 connections, and 1,024 files. */
const MANY = 700;
/** The time in which something is sure to have happened if it happens at all. */
const LONG_MS = 20_000;

const socket = ({ url }: Place) => probe.socket(url);
const manyStreams = ({ url }: Place) => probe.manyStreams(url, MANY);
const readyz = async ({ url }: Place) => (await fetch(`${url}/readyz`)).status;
const streamOnReload = ({ url, proxy }: Place) => probe.streamEnds(url, LONG_MS, () => proxy.reload());

/** Asks the proxy to end while a stream is open. */
async function stopWithAnOpenStream({ url, proxy }: Place): Promise<string> {
  const stream = await probe.begin(`${url}/api/ticker/events`);
  const late = new Promise<string>((late) => setTimeout(() => late('waits'), LONG_MS));
  const outcome = await Promise.race([proxy.leave().then(() => 'ends'), late]);
  stream.destroy();
  return outcome;
}

/** Makes twenty requests, one after the other. */
async function keptConnection({ url, serverSide }: Place): Promise<string> {
  for (let made = 0; made < 20; made++) await (await fetch(`${url}/healthz`)).text();
  return serverSide.connections <= 2 ? 'kept' : `${serverSide.connections} connections for 20 requests`;
}

/** Six streams of one page, and then a request. */
async function requestBesideSixStreams({ url, page }: Place): Promise<string> {
  await page.goto(`${url}/progress`);
  return page.evaluate(async (waitMs) => {
    for (let opened = 0; opened < 6; opened++) await fetch(`/api/ticker/events?symbols=ACME&${opened}`);
    return fetch('/healthz', { cache: 'no-store', signal: AbortSignal.timeout(waitMs) }).then(
      () => 'is answered',
      () => 'waits',
    );
  }, LONG_MS);
}

/** An `EventSource` of a page that does not use the kit, while the server is replaced: its state when it has tried again. */
async function plainEventSource({ url, page, server }: Place): Promise<string> {
  await page.goto(`${url}/healthz`);
  await page.evaluate(() => {
    const source = new EventSource('/api/ticker/events');
    return new Promise<void>((open) => {
      source.onopen = () => open();
      Object.assign(window, { source });
    });
  });
  await server.stop();
  await page.waitForRequest(/\/api\/ticker\/events/, { timeout: LONG_MS });
  await server.start();
  return page.evaluate(
    () =>
      new Promise<string>((settled) => {
        const { source } = window as unknown as { source: EventSource };
        const look = () => {
          if (source.readyState === EventSource.OPEN) settled('comes back');
          else if (source.readyState === EventSource.CLOSED) settled('gives up');
          else setTimeout(look, 50);
        };
        look();
      }),
  );
}

/** Which side ends a connection to the server that nothing uses. */
async function whoEndsAnIdleConnection({ url, serverSide }: Place): Promise<string> {
  await (await fetch(`${url}/healthz`)).text();
  return serverSide.endedBy;
}

/** What the browser logs where a line is missed, and where the proxy ends before the page. */
const tolerated = new RegExp(`${BROKEN_CONNECTION.source}|${BAD_GATEWAY.source}`);

const NO_LIMIT = { 'max-connections-per-ip': 0 };
/** A stream of a server that says nothing for 75 s. */
const QUIET = { 'heartbeat-ms': 75_000, 'tick-ms': 3_600_000 };
const QUIET_MS = 70_000;

const ROWS: Record<Kind, Row[]> = {
  nginx: [
    { removed: 'worker_rlimit_nofile 20000;', flags: NO_LIMIT, probe: manyStreams, whole: 'all open', without: 'some refused' },
    { removed: 'worker_connections 16384;', flags: NO_LIMIT, probe: manyStreams, whole: 'all open', without: 'some refused' },
    { removed: 'worker_shutdown_timeout 10s;', probe: streamOnReload, whole: 'ends', without: 'stays open' },
    { removed: 'keepalive 64;', looksBehind: true, probe: keptConnection, whole: 'kept', without: '20 connections for 20 requests' },
    { removed: 'websocket upgrade;', probe: socket, whole: 'welcome', without: expect.stringMatching(/^4/) },
    { removed: ' http2', probe: requestBesideSixStreams, whole: 'is answered', without: 'waits' },
    { removed: 'ssl_protocols TLSv1.2 TLSv1.3;', probe: ({ url }) => probe.speaksTls13(url), whole: true, without: false },
    { removed: 'client_max_body_size 0;', probe: ({ url }) => probe.upload(url, 2_000_000), whole: 200, without: 413 },
    { removed: 'proxy_request_buffering off;', probe: ({ url }) => probe.jobOfHalfAnUpload(url, LONG_MS), whole: true, without: false },
    { removed: 'proxy_http_version 1.1;', probe: socket, whole: 'welcome', without: expect.stringMatching(/^4/) },
    { removed: 'proxy_set_header Upgrade $http_upgrade;', probe: socket, whole: 'welcome', without: expect.stringMatching(/^4/) },
    { removed: 'proxy_set_header Connection $connection_upgrade;', probe: socket, whole: 'welcome', without: expect.stringMatching(/^4/) },
    {
      removed: 'proxy_set_header X-Forwarded-For $remote_addr;',
      flags: { 'max-connections-per-ip': 2 },
      probe: ({ url }) => probe.countedAddresses(url),
      whole: { third: 429, forged: 429, other: 200 },
      without: { third: 429, forged: 200, other: 429 },
    },
    { removed: 'proxy_set_header X-Forwarded-Proto $scheme;', probe: ({ url }) => probe.secureCookie(url), whole: true, without: false },
    { removed: 'proxy_set_header X-Forwarded-Host $http_host;', probe: socket, whole: 'welcome', without: '403' },
    { removed: 'proxy_read_timeout 10m;', flags: QUIET, probe: ({ url }) => probe.streamEnds(url, QUIET_MS), whole: 'stays open', without: 'ends' },
    { removed: 'location ~ ^/(metrics|readyz)$ { return 404; }', probe: readyz, whole: 404, without: 200 },
  ],
  caddy: [
    { removed: 'grace_period 4s', probe: stopWithAnOpenStream, whole: 'ends', without: 'waits' },
    { removed: 'respond @internal 404', probe: readyz, whole: 404, without: 200 },
    { removed: 'lb_try_duration 10s', probe: plainEventSource, whole: 'comes back', without: 'gives up' },
    { removed: 'keepalive 60s', looksBehind: true, probe: whoEndsAnIdleConnection, whole: 'proxy', without: 'server' },
  ],
};

/** Runs the probe of a row in front of a server of its own. */
function probed(name: string, kind: Kind, row: Row, configuration: string, expected: unknown): void {
  test(name, async ({ server, page }) => {
    const serverSide = await ServerSide.start(server.port);
    const proxy = await ReverseProxy.start(kind, row.looksBehind ? serverSide.port : server.port, configuration);
    const found = await row.probe({ url: proxy.url, proxy, server, page, serverSide });
    await proxy.close();
    await serverSide.close();
    expect(found).toEqual(expected);
  });
}

for (const kind of Object.keys(ROWS) as Kind[]) {
  test(`${kind}: every line that a comment makes a promise for is in the table`, () => {
    const lines = deployed(kind).split('\n').map((line) => line.trim());
    const isComment = (line: string) => line.startsWith('#');
    const promised = lines.flatMap((line, at) => (/^# Without /.test(line) ? [lines.slice(at).find((next) => !isComment(next))!] : []));
    expect(promised.length).toBe(ROWS[kind].length);
    for (const line of promised) expect(ROWS[kind].filter(({ removed }) => line.includes(removed)), line).toHaveLength(1);
  });

  for (const row of ROWS[kind]) {
    test.describe(`${kind}: ${row.removed.trim()}`, () => {
      test.use({ flags: { 'trust-proxy': 'true', ...row.flags }, tolerated });
      probed('works', kind, row, deployed(kind), row.whole);
      probed('is missed', kind, row, replaced(deployed(kind), row.removed, ''), row.without);
    });
  }
}

test.describe('caddy does without a line', () => {
  // But for the row that both tables have, and for a reload: Caddy keeps the streams that are open, without a process for them.
  const rows = [...new Map(ROWS.nginx.map((row) => [row.probe, row])).values()];
  for (const row of rows.filter(({ probe }) => probe !== readyz && probe !== streamOnReload)) {
    test.describe(`what nginx does with: ${row.removed.trim()}`, () => {
      test.use({ flags: { 'trust-proxy': 'true', ...row.flags }, tolerated });
      probed('works', 'caddy', row, deployed('caddy'), row.whole);
    });
  }
});
