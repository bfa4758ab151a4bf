import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test as base, type Locator, type Page } from '@playwright/test';
import { BACK_WITHIN_MS } from '../fixtures/app';

const REPOSITORY = resolve(__dirname, '../..');
/** The build of `make example`, unless the environment names another (relative to the repository). */
const BINARY = resolve(REPOSITORY, process.env.THERMOMETER_BIN ?? 'target/debug/thermometer');
const SITE_ROOT = join(REPOSITORY, 'target/thermometer-site');

/** The server of the example. After the first start it keeps its port. */
class Thermometer {
  private child: ChildProcess | undefined;
  private port = 0;

  /** Kills the server if the test runner itself ends early, so that no server is left behind. */
  private readonly killNow = () => this.child?.kill('SIGKILL');

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const settings = { LEPTOS_SITE_ADDR: `127.0.0.1:${this.port}`, LEPTOS_SITE_ROOT: SITE_ROOT };
    const child = spawn(BINARY, { env: settings, stdio: ['ignore', 'pipe', 'inherit'] });
    this.child = child;
    process.once('exit', this.killNow);
    // The loop ends without an address where the server ends instead of listening.
    for await (const line of createInterface({ input: child.stdout })) {
      this.port = Number(/^Thermometer listens on http:\/\/127\.0\.0\.1:(\d+)$/.exec(line)?.[1]);
      // Further output is read and discarded, or a full pipe would block the server.
      child.stdout.resume();
      return;
    }
    throw new Error('The example ended instead of listening: its own words stand above.');
  }

  /** Asks the server to end, and returns its exit code. */
  async stop(): Promise<number | null> {
    const child = this.child;
    if (!child || child.exitCode !== null) return child?.exitCode ?? null;
    process.off('exit', this.killNow);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    const [code] = await ended;
    return code;
  }
}

const test = base.extend<{ thermometer: Thermometer; visit: () => Promise<Page> }>({
  thermometer: async ({}, use) => {
    for (const path of [BINARY, join(SITE_ROOT, 'pkg/thermometer.wasm')]) {
      if (!existsSync(path)) throw new Error(`${path} is not there. Build it with: make example`);
    }
    const thermometer = new Thermometer();
    await thermometer.start();
    await use(thermometer);
    await thermometer.stop();
  },

  /** Opens the page as another visitor, and waits until both of its connections are open. */
  visit: async ({ browser, thermometer }, use) => {
    const [pages, exceptions]: [Page[], Error[]] = [[], []];
    await use(async () => {
      const page = await browser.newPage();
      pages.push(page);
      page.on('pageerror', (exception) => exceptions.push(exception));
      await page.goto(thermometer.url);
      await connected(page);
      return page;
    });
    await Promise.all(pages.map((page) => page.close()));
    expect(exceptions, 'exceptions of the pages').toEqual([]);
  },
});

/** The status lines of both connections. */
function lines(page: Page): Locator[] {
  return ['SSE', 'WebSocket'].map((transport) => page.locator(`[data-transport=${transport}]`));
}

async function connected(page: Page, timeout?: number): Promise<void> {
  for (const line of lines(page)) await expect(line).toHaveAttribute('data-state', 'open', { timeout });
}

async function write(page: Page, note: string): Promise<void> {
  await page.getByLabel('Note').fill(note);
  await page.getByRole('button', { name: 'Write' }).click();
  await expect(page.getByLabel('Note')).toHaveValue('');
}

async function temperatureChanges(page: Page): Promise<void> {
  const celsius = page.getByTestId('celsius');
  await expect(celsius).toHaveText(/^\d+\.\d °C$/);
  await expect(celsius).not.toHaveText((await celsius.textContent())!);
}

test('the thermometer of examples/ survives a restart of its server', async ({ thermometer, visit }) => {
  const [ada, grace] = [await visit(), await visit()];
  const pages = [ada, grace];
  await temperatureChanges(ada);
  await write(ada, 'Before');
  for (const page of pages) await expect(page.getByRole('listitem')).toHaveText(['Before']);

  expect(await thermometer.stop(), 'the exit code').toBe(0);
  for (const page of pages) {
    for (const line of lines(page)) {
      await expect(line).toContainClass('lost');
      await expect(line.getByTestId('status-words')).toHaveText(/^Connection lost\. Retrying in \d+ s$/);
    }
  }
  await write(grace, 'Written while it was away');
  await expect(grace.getByText('1 unsent')).toBeVisible();

  await thermometer.start();
  for (const page of pages) {
    await connected(page, BACK_WITHIN_MS);
    await expect(page.getByText('The server restarted: a new notebook.')).toBeVisible();
    await expect(page.getByText('0 unsent')).toBeVisible();
    await temperatureChanges(page);
  }

  // The note is stored once, and both pages go on.
  await write(ada, 'After');
  for (const page of pages) await expect(page.getByRole('listitem')).toHaveText(['Written while it was away', 'After']);
});
