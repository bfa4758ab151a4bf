import { defineConfig } from '@playwright/test';
import { certificateFiles, makeCertificate } from './fixtures/certificate';
import type { Kind } from './fixtures/reverse-proxy';
import everyday from './playwright.config';

// The workers inherit the environment, and Node reads this variable when they start: the clients in the tests check the
// certificate. Chromium has its own list of authorities, and accepts any certificate instead.
if (!process.env.TEST_WORKER_INDEX) {
  makeCertificate();
  process.env.NODE_EXTRA_CA_CERTS = certificateFiles().certificate;
}

/** The acceptance tests of the four pages, through a proxy. */
const PAGES = ['ticker', 'progress', 'jobs', 'chat', 'collab'].map((page) => `acceptance/${page}*.spec.ts`);

function pagesBehind(behind: Kind) {
  return { name: behind, testMatch: PAGES, use: { behind } };
}

// `make test-proxies` runs them, `make test` does not.
export default defineConfig<{ behind: Kind | undefined }>({
  ...everyday,
  testMatch: undefined,
  // Two real programs for each test, on a machine that may be busy.
  timeout: 180_000,
  expect: { timeout: 20_000 },
  use: { ...everyday.use, ignoreHTTPSErrors: true },
  projects: [{ name: 'proxies', testMatch: 'proxies/**/*.spec.ts' }, pagesBehind('nginx'), pagesBehind('caddy')],
});
