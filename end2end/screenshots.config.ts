import { defineConfig } from '@playwright/test';
import everyday from './playwright.config';

// Pictures for the README and for link previews. `make screenshots` takes them, `make test` does not.
export default defineConfig({
  ...everyday,
  testMatch: 'screenshots/**/*.spec.ts',
  workers: 1,
  // The ticker's chart takes four minutes to fill.
  timeout: 600_000,
  use: { ...everyday.use, trace: 'off', deviceScaleFactor: 1 },
});
