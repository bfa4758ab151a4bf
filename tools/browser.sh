#!/bin/sh
# Finds or installs the programs that the tests drive: curl, openssl, and a Chromium. The headless shell of Chromium is
# preferred, because the tests take half the time in it: the one on PATH, else the package of Debian. Without it, a whole
# Chromium: the one on PATH, else that of Playwright, else the package of Debian. The names are those of
# end2end/playwright.config.ts.
set -eu
cd "$(dirname "$0")/.."

on_path() {
    for name in "$@"; do
        command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

headless_shell_on_path() {
    on_path chromium-headless-shell chrome-headless-shell
}

chromium_on_path() {
    on_path chromium chromium-browser google-chrome google-chrome-stable
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

headless_shell_on_path && exit 0
# Only Debian has the package. Ubuntu would be asked in vain again with every `make`.
if grep -qs '^ID=debian' /etc/os-release; then
    sh tools/debian-package.sh chromium-headless-shell
    headless_shell_on_path && exit 0
fi
chromium_on_path && exit 0
playwrights_own && exit 0
# Ubuntu has a package of another name that needs snap. There, and where apt fails, the browser of Playwright is next.
sh tools/debian-package.sh chromium
chromium_on_path && exit 0
playwright install chromium && exit 0
echo "Install Chromium so that it is found on PATH (on Debian: apt-get install chromium-headless-shell). Then run make again." >&2
exit 1
