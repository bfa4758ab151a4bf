import { defineConfig } from '@playwright/test';
import everyday from './playwright.config';

/** What each node counts for itself (docs/operate.md): two pages that come to two nodes do not count each other. */
const OF_ONE_NODE = [/two windows see the same prices move, and each counts the other$/];

// Three nodes on one NATS behind Caddy, without sticky sessions.
export default defineConfig<{ nodes: number }>({
  ...everyday,
  testMatch: ['cluster/**/*.spec.ts', 'acceptance/**/*.spec.ts'],
  // The files that are served, another application, and TLS of a server itself.
  testIgnore: ['weight', 'example', 'http2'].map((name) => `acceptance/${name}.spec.ts`),
  grepInvert: OF_ONE_NODE,
  // Each test has five servers, on a machine that may be busy.
  timeout: 180_000,
  expect: { timeout: 20_000 },
  use: { ...everyday.use, nodes: 3 },
});
