// Headless Chromium, Debian's own, with a profile that is thrown away.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

/** How long anything may take that should happen at once, on a machine that is busy with other tests. */
const PATIENCE_MS = 90_000;

/** A browser that is closed after the tests. Answers a function that opens a page: new session, own storage. */
export async function openBrowser(after) {
  const profile = mkdtempSync(join(tmpdir(), 'sterna-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: FLAGS,
    viewport: { width: 1180, height: 760 },
    timeout: PATIENCE_MS,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  after(async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  });
  return async (url) => {
    const page = await context.newPage();
    page.faults = [];
    page.requested = [];
    page.on('pageerror', (error) => page.faults.push(error.message));
    page.on('console', (line) => { if (line.type() === 'error') page.faults.push(line.text()); });
    page.on('request', (request) => page.requested.push(request.url()));
    await page.goto(url);
    return page;
  };
}
