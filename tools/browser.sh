#!/bin/sh
# Finds or installs what the tests drive: curl, and a Chromium, the one on PATH, else Debian's package, else Playwright's
# own. Its names are those of end2end/playwright.config.ts.
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

# Debian's package of this name, where apt and root are there; whether it helped, the caller looks.
install() {
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1" || true
    fi
}

# One of the clients that read the stream of prices in the tests.
command -v curl >/dev/null 2>&1 || install curl
command -v curl >/dev/null 2>&1 || {
    echo "Install curl (on Debian: apt-get install curl). Then run make again." >&2
    exit 1
}

on_path && exit 0
playwrights_own && exit 0
# Ubuntu has a package of another name that wants snap; there, and where apt fails, Playwright's own is next.
install chromium
on_path && exit 0
playwright install chromium && exit 0
echo "Install Chromium so that it is found on PATH (on Debian: apt-get install chromium). Then run make again." >&2
exit 1
