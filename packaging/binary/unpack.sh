#!/bin/sh
# reportd @VERSION@, for Linux on @MACHINE@
#
# Below these lines is the program as a compressed archive. It is unpacked once, into the cache of whoever runs it, and
# run from there: in this very process, so that signals and systemd find it.
set -eu
umask 077
name=reportd-@DIGEST@
if [ -n "${CACHE_DIRECTORY:-}" ]; then
    cache=${CACHE_DIRECTORY%%:*}
else
    case "${XDG_CACHE_HOME:-}" in
    /*) cache=$XDG_CACHE_HOME/reportd ;;
    *) cache=${HOME:+$HOME/.cache/reportd} ;;
    esac
    if [ -z "$cache" ] || ! mkdir -p "$cache" 2>/dev/null || ! [ -w "$cache" ]; then
        cache=${TMPDIR:-/tmp}/reportd-cache-$(id -u)
        mkdir -p "$cache"
    fi
fi
# What others could write to must not be run.
if ! [ -O "$cache" ] || [ -h "$cache" ] || [ -n "$(find "$cache" -prune -perm /022)" ]; then
    echo "reportd: $cache must be a folder of your own that nobody else can write to; set XDG_CACHE_HOME" >&2
    exit 1
fi
if ! [ -d "$cache/$name" ]; then
    new=$(mktemp -d "$cache/new-XXXXXX")
    trap 'rm -rf "$new"' EXIT
    tail -c +@OFFSET@ "$0" | tar -xzf - -C "$new"
    # Two that start at once both unpack it; the second one finds it done.
    mv -T "$new/reportd" "$cache/$name" 2>/dev/null || [ -d "$cache/$name" ]
    rm -rf "$new"
    trap - EXIT
fi
exec "$cache/$name/reportd" "$@"
