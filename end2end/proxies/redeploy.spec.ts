import type { Page } from '@playwright/test';
import { BAD_GATEWAY, BROKEN_CONNECTION, connected, expect, markDocument, sameDocument, status, test } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';
import { startCountdown } from '../fixtures/jobs';
import { deployed, replaced, ReverseProxy, type Kind } from '../fixtures/reverse-proxy';

test.use({ tolerated: new RegExp(`${BROKEN_CONNECTION.source}|${BAD_GATEWAY.source}`), flags: { 'trust-proxy': 'true' } });

const RECOVERS_WITHIN_MS = 60_000;

interface Way {
  kind: Kind;
  /** The configuration while the server is away, if it is another. */
  meanwhile?: string;
  configuration: string;
  status: 502 | 503;
}

const impatient = replaced(deployed('caddy'), 'lb_try_duration 10s', '');

const WAYS: Record<string, Way> = {
  'nginx, which answers 502': { kind: 'nginx', configuration: deployed('nginx'), status: 502 },
  'nginx, which the operator lets answer 503': {
    kind: 'nginx',
    configuration: deployed('nginx'),
    meanwhile: replaced(deployed('nginx'), 'proxy_pass http://wirewise;', 'return 503;'),
    status: 503,
  },
  'caddy, which does not wait and answers 502': { kind: 'caddy', configuration: impatient, status: 502 },
  'caddy, which checks the server and answers 503': {
    kind: 'caddy',
    configuration: replaced(impatient, 'transport http {', 'health_uri /healthz\n\t\thealth_interval 200ms\n\t\ttransport http {'),
    status: 503,
  },
};

for (const [name, { kind, configuration, meanwhile, status: refusal }] of Object.entries(WAYS)) {
  test(`every page comes back after a redeploy behind ${name}`, async ({ context, server, problems }) => {
    const proxy = await ReverseProxy.start(kind, server.port, configuration);
    const open = async (path: string) => {
      const page = await context.newPage();
      await page.goto(proxy.url + path);
      return page;
    };
    const pages = { ticker: await open('/ticker'), progress: await open('/progress'), chat: await open('/chat'), collab: await open('/collab') };
    await startCountdown(pages.progress, 1_000, 200);
    for (const page of Object.values(pages)) await connected(page);
    await Promise.all(Object.values(pages).map(markDocument));

    await server.stop();
    if (meanwhile) await proxy.restart(meanwhile);
    const refused = (page: Page) => problems.some((problem) => problem.includes(` on ${page.url()}:`) && problem.includes(`${refusal}`));
    for (const [name, page] of Object.entries(pages)) {
      await expect(status(page), name).not.toHaveAttribute('data-state', 'open');
      await expect.poll(() => refused(page), { message: `${name} is refused with ${refusal}`, timeout: RECOVERS_WITHIN_MS }).toBe(true);
    }
    await say(pages.chat, 'Written meanwhile');

    if (meanwhile) await proxy.restart(configuration);
    await server.start();
    for (const page of [pages.ticker, pages.chat, pages.collab]) await connected(page, RECOVERS_WITHIN_MS);
    // A restart ends a job, and the page gets to know.
    await expect(pages.progress.getByTestId('job')).toHaveAttribute('data-status', 'Failed', { timeout: RECOVERS_WITHIN_MS });
    for (const page of Object.values(pages)) expect(await sameDocument(page)).toBe(true);
    await expect(pages.ticker.getByTestId('price-row')).toHaveCount(24);
    await expect(texts(pages.chat)).toHaveText(['Written meanwhile']);
    await expect(pages.chat.getByTestId('unsent')).toHaveCount(0);
    await proxy.close();
  });
}

test('behind caddy, which waits for the new server, no page sees a refusal', async ({ context, server, problems }) => {
  const proxy = await ReverseProxy.start('caddy', server.port);
  const pages = await Promise.all(
    ['/ticker', '/chat', '/collab'].map(async (path) => {
      const page = await context.newPage();
      await page.goto(proxy.url + path);
      await connected(page);
      return page;
    }),
  );
  const tried = pages[0].waitForRequest(/\/api\/ticker\/events/, { timeout: RECOVERS_WITHIN_MS });
  await server.stop();
  await tried;
  await server.start();
  for (const page of pages) await connected(page, RECOVERS_WITHIN_MS);
  expect(problems.filter((problem) => BAD_GATEWAY.test(problem))).toEqual([]);
  await proxy.close();
});
