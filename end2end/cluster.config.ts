import { defineConfig } from '@playwright/test';
import everyday from './playwright.config';

/** Only the chat and the sessions work across nodes yet (docs/operate.md). These tests need what one node alone has. */
const OF_ONE_NODE = [
  // A job is known only to the node where it was started, and the page's stream comes to another one.
  /closes its connection: job$/,
  /a page with a private stream and no socket/,
  /a job that the restart interrupted/,
  // Two people edit a text together only at the same node.
  /every page recovers by itself after a restart/,
];

// Three nodes on one NATS behind Caddy, without sticky sessions.
export default defineConfig<{ nodes: number }>({
  ...everyday,
  testMatch: [
    'cluster/**/*.spec.ts',
    ...['chat*', 'sessions', 'sign-out', 'leave', 'restart'].map((name) => `acceptance/${name}.spec.ts`),
  ],
  grepInvert: OF_ONE_NODE,
  // Each test has five servers, on a machine that may be busy.
  timeout: 180_000,
  expect: { timeout: 20_000 },
  use: { ...everyday.use, nodes: 3 },
});
