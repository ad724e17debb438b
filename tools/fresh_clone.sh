#!/bin/sh
# Does what a person on a fresh machine does: clone, `make demo`, `make test`; then both again,
# without network where this machine lets us take it away. The path has spaces and an apostrophe,
# HOME cannot be written, and root does it all as nobody.
# Usage: tools/fresh_clone.sh [make target ...]     default: demo test
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/penstock's fresh clone.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
[ $# -gt 0 ] || set -- demo test

git clone --quiet "$here" "$work/a clone"
cd "$work/a clone"
mkdir "$work/home"
chmod 555 "$work/home"
chmod 755 "$work"

as_nobody=
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chown -R 65534:65534 "$work"
    as_nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"
fi
# A network name space of its own has nothing but a loopback interface, and that has to be raised.
raise_loopback='import fcntl, socket, struct
request = struct.pack("16sh14x", b"lo", 1)
fcntl.ioctl(socket.socket(), 0x8914, request)'
offline=
for way in "unshare --net" "unshare --user --map-root-user --net"; do
    if $way python3 -c "$raise_loopback" 2>/dev/null; then
        offline=$way
        break
    fi
done

for round in first second; do
    for target in "$@"; do
        if [ "$round" = second ] && [ -n "$offline" ]; then
            printf '\n=== second round, without network: make %s\n' "$target"
            HOME="$work/home" $offline sh -c 'python3 -c "$1"; exec $2 make "$3"' \
                sh "$raise_loopback" "$as_nobody" "$target"
        else
            printf '\n=== %s round: make %s\n' "$round" "$target"
            HOME="$work/home" $as_nobody make "$target"
        fi
    done
done
changed=$($as_nobody git status --porcelain)
if [ -n "$changed" ]; then
    printf 'fresh clone: left behind, and git sees it:\n%s\n' "$changed" >&2
    exit 1
fi
printf '\n=== fresh clone: both rounds passed\n'
