#!/bin/sh
# Finds or installs the programs that the tests drive: curl, openssl, and a Chromium (the one on PATH, else the package of
# Debian, else that of Playwright). The names are those of end2end/playwright.config.ts.
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

# A test reads the stream of prices with curl, and the certificates of the tests come from openssl.
for program in curl openssl; do
    command -v "$program" >/dev/null 2>&1 || sh tools/debian-package.sh "$program"
    command -v "$program" >/dev/null 2>&1 || {
        echo "Install $program (on Debian: apt-get install $program). Then run make again." >&2
        exit 1
    }
done

on_path && exit 0
playwrights_own && exit 0
# Ubuntu has a package of another name that needs snap. There, and where apt fails, the browser of Playwright is next.
sh tools/debian-package.sh chromium
on_path && exit 0
playwright install chromium && exit 0
echo "Install Chromium so that it is found on PATH (on Debian: apt-get install chromium). Then run make again." >&2
exit 1
