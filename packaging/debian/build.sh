#!/bin/sh
# Makes dist/reportd_VERSION_ARCHITECTURE.deb out of build/binary/reportd, which packaging/binary/build.sh has made.
# Asks nothing of the network. An argument is the package's version instead of the one that git gives it.
#
# The package holds the program as a folder, not as the one file that dist/reportd is: so nothing is unpacked when the
# service starts, and the service can't write to what it runs.
set -eu
cd "$(dirname "$0")/../.."
program=build/binary/reportd here=packaging/debian tree=build/debian
[ -x "$program/reportd" ] || { echo "There is no $program: make binary" >&2; exit 1; }

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022
architecture=$(dpkg --print-architecture)
upstream=$("$program/reportd" --version | cut -d' ' -f2)
# Up to its release, a version sorts by the time of its last commit.
if [ "$(git describe --tags --exact-match 2>/dev/null || true)" = "v$upstream" ]; then
    version=$upstream
else
    version=$upstream~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$(git rev-parse --short=8 HEAD)
fi
version=${1:-$version}
maintainer="${DEBFULLNAME:-The reportd authors} <${DEBEMAIL:-reportd@localhost}>"
doc=$tree/usr/share/doc/reportd

rm -rf "$tree"
put() { install -D -m "$1" "$2" "$tree/$3"; }
mkdir -p "$tree/DEBIAN" "$tree/usr/lib" "$tree/usr/bin" "$doc"
cp -R "$program" "$tree/usr/lib/reportd"
find "$tree/usr/lib/reportd" -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
chmod 755 "$tree/usr/lib/reportd/reportd"
ln -s ../lib/reportd/reportd "$tree/usr/bin/reportd"
put 644 reportd.service lib/systemd/system/reportd.service
put 644 $here/reportd.socket lib/systemd/system/reportd.socket
put 644 packaging/reportd.toml etc/reportd/reportd.toml
put 644 $here/sysusers.conf usr/lib/sysusers.d/reportd.conf
put 644 $here/tmpfiles.conf usr/lib/tmpfiles.d/reportd.conf
put 644 $here/completion.bash usr/share/bash-completion/completions/reportd
put 644 $here/lintian-overrides usr/share/lintian/overrides/reportd
put 644 $here/copyright usr/share/doc/reportd/copyright
# Links between these are relative, so they lead to the same places as in the source.
for file in README.md ARCHITECTURE.md $(git ls-files docs); do
    put 644 "$file" "usr/share/doc/reportd/$file"
done
put 644 packaging/prometheus/alerts.yml usr/share/doc/reportd/examples/alerts.yml
put 644 packaging/container.conf usr/share/doc/reportd/examples/container.conf
put 644 packaging/grafana/dashboard.json usr/share/doc/reportd/examples/dashboard.json
gzip -9n < CHANGELOG.md > "$doc/CHANGELOG.md.gz"
{
    echo "reportd ($version) unstable; urgency=medium"
    echo
    echo "  * See CHANGELOG.md.gz."
    echo
    echo " -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n > "$doc/changelog.gz"
mkdir -p "$tree/usr/share/man/man1"
sed -e "s/@DATE@/$(date -u -d "@$SOURCE_DATE_EPOCH" +%F)/" -e "s/@UPSTREAM@/$upstream/" $here/reportd.1 |
    gzip -9n > "$tree/usr/share/man/man1/reportd.1.gz"

# The program is linked to the C library of this machine, and to no other library of its.
glibc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
size=$(du -sk --apparent-size "$tree" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" -e "s/@GLIBC@/$glibc/" \
    -e "s/@MAINTAINER@/$maintainer/" \
    $here/control > "$tree/DEBIAN/control"
echo /etc/reportd/reportd.toml > "$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    put 755 $here/$script DEBIAN/$script
done
(cd "$tree" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum > DEBIAN/md5sums)
find "$tree" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
mkdir -p dist
dpkg-deb --root-owner-group -Zxz --build "$tree" "dist/reportd_${version}_$architecture.deb"
