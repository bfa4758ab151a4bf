#!/bin/sh
# Puts together the root folder of the image: the server, the files for the browser, the libraries that the server
# loads, and the certificates that it trusts. There is neither a shell nor another program in it. The Dockerfile runs
# this, and tools/check-packages.sh runs it without Docker.
#
# Usage: deploy/image-root.sh SERVER SITE FOLDER
set -eu
server=$1 site=$2 root=$3

mkdir -p "$root/etc/ssl/certs" "$root/usr/local/bin" "$root/usr/local/share/wirewise" "$root/tmp" "$root/var/lib/wirewise"
# The symbols are two fifths of the binary. Without them a panic still names its file and line.
strip -o "$root/usr/local/bin/wirewise" "$server"
cp -R "$site" "$root/usr/local/share/wirewise/site"
# The loader too. Each library lies where the loader looks for it.
ldd "$server" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root${library%/*}"
    cp -L "$library" "$root$library"
done
# A feed of an exchange is read over TLS.
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'wirewise:x:65532:65532::/var/lib/wirewise:/usr/sbin/nologin' >"$root/etc/passwd"
echo 'wirewise:x:65532:' >"$root/etc/group"
# Without it the C library would ask DNS for localhost.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
# A new volume gets the owner of the folder that it is mounted on.
chown 65532:65532 "$root/var/lib/wirewise"
chmod 700 "$root/var/lib/wirewise"
chmod 1777 "$root/tmp"
