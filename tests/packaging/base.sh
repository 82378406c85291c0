#!/bin/sh
# Makes build/system: a small Debian with systemd and what the package depends on, for the tests that boot one, and a
# kernel beside it for the one that needs a machine of its own. Needs root. Packages come from where this machine's do.
set -eu
cd "$(dirname "$0")/../.."
base=build/system/base kernel=build/system/kernel
stamp=build/system/$(sha256sum tests/packaging/base.sh packaging/debian/control | sha256sum | cut -c1-16)
[ ! -e "$stamp" ] || exit 0
. /etc/os-release
rm -rf build/system
mkdir -p "$base" "$kernel"

echo "Making a Debian system to test in"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $VERSION_CODENAME" | head -n 1)
debootstrap --variant=minbase --include=bubblewrap,ca-certificates,curl,dbus,procps,systemd,systemd-sysv \
    "$VERSION_CODENAME" "$base" "$mirror" > build/system/debootstrap.log
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    sort -u > "$base/etc/apt/sources.list"
apt-config dump | grep -E '^Acquire::(http|https|Check)' > "$base/etc/apt/apt.conf.d/90machine" || true
cp /etc/resolv.conf "$base/etc/resolv.conf"
depends=$(sed -n 's/^Depends: //p' packaging/debian/control | sed 's/([^)]*)//g; s/,/ /g')
# shellcheck disable=SC2086 # a list of words
chroot "$base" sh -euc '
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install --no-install-recommends "$@"
    cd /root
    apt-get -qq download "$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/.*Depends: //p" | head -n 1)"
    apt-get clean' base $depends
dpkg-deb -x "$base"/root/linux-image-*.deb "$kernel"
rm -f "$base"/root/*.deb
touch "$stamp"
