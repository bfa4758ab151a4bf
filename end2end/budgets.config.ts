import { defineConfig } from '@playwright/test';
import everyday from './playwright.config';

// Measurements: one at a time, on a machine without other load, and without a trace, which would be measured too.
// `make check-budgets` runs them, `make test` does not.
export default defineConfig({ ...everyday, testMatch: 'budgets/**/*.spec.ts', fullyParallel: false, workers: 1, use: { ...everyday.use, trace: 'off' } });
