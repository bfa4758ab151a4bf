import type { Page } from '@playwright/test';
import { BROKEN_CONNECTION, connected, expect, states, status, test } from '../fixtures/app';
import { deployed, replaced, ReverseProxy, type Kind } from '../fixtures/reverse-proxy';
import type { Server } from '../fixtures/server';

const KINDS: Kind[] = ['nginx', 'caddy'];

async function behind<T>(kind: Kind, server: Server, configuration: string, what: (proxy: ReverseProxy) => Promise<T>): Promise<T> {
  const proxy = await ReverseProxy.start(kind, server.port, configuration);
  return what(proxy).finally(() => proxy.close());
}

/**
 * The time from the publication of an event to its arrival in the browser, in milliseconds: the median of the first twenty,
 * because another process may hold the browser up for a moment.
 */
async function delay(page: Page, url: string): Promise<number> {
  // A page of this origin without streams of its own.
  await page.goto(`${url}/healthz`);
  const delays = await page.evaluate(
    () =>
      new Promise<number[]>((done) => {
        const delays: number[] = [];
        const source = new EventSource('/api/compare/events');
        source.addEventListener('pulse', ({ data }) => {
          delays.push(performance.timeOrigin + performance.now() - JSON.parse(data).sent_us / 1000);
          if (delays.length < 20) return;
          source.close();
          done(delays);
        });
      }),
  );
  return delays.sort((one, other) => one - other)[10];
}

for (const kind of KINDS) {
  test.describe(kind, () => {
    test.use({ flags: { 'trust-proxy': 'true' } });

    test('an event reaches the browser within 500 ms of being published', async ({ page, server }) => {
      expect(await behind(kind, server, deployed(kind), ({ url }) => delay(page, url))).toBeLessThan(500);
    });

    test('a plain request is sent to HTTPS', async ({ server }) => {
      await behind(kind, server, deployed(kind), async ({ plainUrl }) => {
        const answer = await fetch(`${plainUrl}/chat/lobby?x=1`, { redirect: 'manual' });
        expect(answer.headers.get('location')).toBe('https://127.0.0.1/chat/lobby?x=1');
      });
    });
  });

  test.describe(`${kind}, and a server that says nothing for 75 s`, () => {
    test.use({
      // The proxy ends before the pages do.
      tolerated: BROKEN_CONNECTION,
      flags: { 'trust-proxy': 'true', 'tick-ms': 3_600_000, 'heartbeat-ms': 75_000, 'ping-ms': 75_000, 'client-ping-ms': 75_000, 'idle-ms': 200_000 },
    });

    test('a page with a stream and one with a socket stay connected for 70 s', async ({ context, server }) => {
      await behind(kind, server, deployed(kind), async ({ url }) => {
        const changes = await Promise.all(
          ['/ticker', '/chat'].map(async (path) => {
            const page = await context.newPage();
            await page.goto(url + path);
            await connected(page);
            return states(status(page));
          }),
        );
        await new Promise((passed) => setTimeout(passed, 70_000));
        for (const seen of changes) expect(await seen()).toEqual([]);
      });
    });
  });
}

test.describe('nginx', () => {
  test.use({ flags: { 'trust-proxy': 'true' } });

  // Over HTTP/1.1 this version of nginx passes each chunk on, buffered or not. Over HTTP/1.0 there are no chunks.
  const old = replaced(deployed('nginx'), 'proxy_http_version 1.1;', '');
  const buffers = replaced(old, 'proxy_pass http://wirewise;', 'proxy_pass http://wirewise; proxy_ignore_headers X-Accel-Buffering;');

  test('buffers no stream over HTTP/1.0 either, because the server sends X-Accel-Buffering', async ({ page, server }) => {
    expect(await behind('nginx', server, old, ({ url }) => delay(page, url))).toBeLessThan(500);
  });

  test('is seen to deliver late where it buffers', async ({ page, server }) => {
    expect(await behind('nginx', server, buffers, ({ url }) => delay(page, url))).toBeGreaterThan(500);
  });
});

test.describe('caddy', () => {
  test.use({ flags: { 'trust-proxy': 'true' } });

  test('leaves event streams alone where an operator adds `encode`', async ({ page, server }) => {
    const encodes = replaced(deployed('caddy'), '{$WIREWISE_DOMAIN:localhost} {', '{$WIREWISE_DOMAIN:localhost} {\n\tencode gzip');
    expect(await behind('caddy', server, encodes, ({ url }) => delay(page, url))).toBeLessThan(500);
  });
});
