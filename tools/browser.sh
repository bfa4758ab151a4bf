#!/bin/sh
# Finds or installs a Chromium for the browser tests: the one on PATH, else Debian's package, else Playwright's own. The
# names are those of end2end/playwright.config.ts.
set -eu
cd "$(dirname "$0")/.."

on_path() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

playwrights_own() {
    node -e 'process.exit(require("fs").existsSync(require("@playwright/test").chromium.executablePath()) ? 0 : 1)'
}

on_path && exit 0
playwrights_own && exit 0
# Ubuntu has a package of another name that wants snap; there, and where apt fails, Playwright's own is next.
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } || true
    on_path && exit 0
fi
playwright install chromium && exit 0
echo "Install Chromium so that it is found on PATH (on Debian: apt-get install chromium). Then run make again." >&2
exit 1
