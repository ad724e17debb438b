#!/bin/sh
# Does what a person on a fresh machine does: clone, `make demo`, `make test`; then both again
# without network. The clone is at a path with spaces and an apostrophe, HOME cannot be written.
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

for round in first second; do
    for target in "$@"; do
        printf '\n=== %s round: make %s\n' "$round" "$target"
        if [ "$round" = second ] && unshare --user --map-root-user --net true 2>/dev/null; then
            # A network name space of its own has a loopback interface and nothing else.
            unshare --user --map-root-user --net sh -c \
                'ip link set lo up 2>/dev/null || true; HOME=$1 exec make "$2"' \
                sh "$work/home" "$target"
        else
            HOME="$work/home" make "$target"
        fi
    done
done
if [ -n "$(git status --porcelain)" ]; then
    echo "fresh clone: these commands left files behind that git sees:" >&2
    git status --short >&2
    exit 1
fi
printf '\n=== fresh clone: both rounds passed\n'
