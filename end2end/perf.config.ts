import { defineConfig } from '@playwright/test';
import everyday from './playwright.config';

// Counts instructions, so other load on the machine does not matter. Under callgrind everything takes fifty times as long.
// `make check-perf` runs them, `make test` does not.
export default defineConfig({ ...everyday, testMatch: 'perf/**/*.spec.ts', fullyParallel: false, workers: 1, timeout: 300_000 });
