import { defineConfig } from '@playwright/test';
import everyday from './playwright.config';

// Three nodes on one NATS behind Caddy, without sticky sessions.
export default defineConfig<{ nodes: number }>({
  ...everyday,
  testMatch: ['cluster/**/*.spec.ts', 'acceptance/**/*.spec.ts'],
  // The files that are served, another application, and TLS of a server itself.
  testIgnore: ['weight', 'example', 'http2'].map((name) => `acceptance/${name}.spec.ts`),
  // Each test has five servers, on a machine that may be busy.
  timeout: 180_000,
  expect: { timeout: 20_000 },
  use: { ...everyday.use, nodes: 3 },
});
