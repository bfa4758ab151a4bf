#!/usr/bin/env bash
# Uploads 1 GiB to the release build of the server. Checks that its digests are those of sha256sum (and of b3sum, if
# that is installed), and that its memory stays within 100 MiB of the idle value. `make check-upload` builds the server
# first.
set -euo pipefail
cd "$(dirname "$0")/.."
most_kib=$((100 * 1024))
folder=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
fail() {
    echo "$1" >&2
    exit 1
}

echo "Making 1 GiB of noise."
head -c 1073741824 /dev/urandom >"$folder/noise.bin"
sha256=$(sha256sum <"$folder/noise.bin" | cut -d' ' -f1)
blake3=$(b3sum --no-names <"$folder/noise.bin" 2>/dev/null || echo unknown)

target/release/wirewise --addr 127.0.0.1:0 --data-dir "$folder/data" --log warn >"$folder/out" &
server=$!
until url=$(sed -n 's/^Wirewise listens on //p' "$folder/out") && [ -n "$url" ]; do
    kill -0 "$server" 2>/dev/null || fail "The server did not start."
    sleep 0.1
done
memory() {
    awk -v field="$1:" '$1 == field { print $2 }' "/proc/$server/status"
}
token=$(curl -fsS -X POST "$url/api/session/guest" | sed 's/.*"token":"\([^"]*\)".*/\1/')
curl -fsS "$url/ticker" -o "$folder/page"
idle=$(memory VmRSS)
started=$(date +%s.%N)
id=$(curl -fsS -H "authorization: Bearer $token" -F "file=@$folder/noise.bin" "$url/api/jobs/upload?size=1073741824" |
    sed 's/.*"id":"\([^"]*\)".*/\1/')
# Reads the stream of the job, which ends with the job.
end=$(curl -fsSN -H "authorization: Bearer $token" "$url/api/jobs/$id/events" | grep '^data: {"type":"done"' || true)
seconds=$(awk -v a="$started" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')
above=$(($(memory VmHWM) - idle))
echo "1 GiB in $seconds s; memory idle $((idle / 1024)) MiB, at its peak $((above / 1024)) MiB above."
case "$end" in *"\"sha256\":\"$sha256\""*) ;; *) fail "The job says: ${end:-nothing}. sha256sum says $sha256." ;; esac
if [ "$blake3" = unknown ]; then
    echo "b3sum is not installed, so BLAKE3 was not compared."
else
    case "$end" in *"\"blake3\":\"$blake3\""*) ;; *) fail "The job says: $end. b3sum says $blake3." ;; esac
fi
[ "$above" -lt "$most_kib" ] || fail "The server's memory grew by $above KiB; the bound is $most_kib KiB."
echo "The digests are right and the memory is within its bound."
