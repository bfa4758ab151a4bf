import { defineConfig } from '@playwright/test';
import { find } from './fixtures/program';

// No `webServer`: each test starts a server of its own, with the flags it needs (fixtures/server.ts).
export default defineConfig({
  testDir: '.',
  testMatch: ['acceptance/**/*.spec.ts', 'bugs/**/*.spec.ts'],
  outputDir: 'test-results',
  fullyParallel: true,
  workers: 2,
  // No retries: a test that passes only the second time has found a defect.
  retries: 0,
  forbidOnly: !!process.env.CI,
  reporter: [['list'], ['./fixtures/last-words.ts']],
  timeout: 60_000,
  // No spec asserts how fast a page is (budgets/ measures it), so an unoptimised build on a busy machine may be slow.
  expect: { timeout: 10_000 },
  use: {
    testIdAttribute: 'data-test',
    // Of a failed test: its steps, its requests, the console, and a picture of the end. Pictures and snapshots of every step
    // would cost more than half of the time of all tests.
    trace: { mode: 'retain-on-failure', screenshots: false, snapshots: false },
    screenshot: 'only-on-failure',
    launchOptions: {
      // The installed browser; `undefined` selects the browser of Playwright. The names are those of tools/browser.sh. The
      // headless shell is first: the same engine without the window, the tabs and the extensions of a desktop, in half the
      // CPU time.
      executablePath: find(['chromium-headless-shell', 'chrome-headless-shell', 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']),
      // Containers have no user namespaces for the sandbox and no GPU. The other flags keep the browser from traffic of
      // its own.
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
});
