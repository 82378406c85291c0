#!/bin/sh
# Installs the Debian packages that reportd needs: `machine.sh run` to run it, `machine.sh test` to test it as well,
# `machine.sh package` to test its package, `machine.sh engines` to test it on real engines. Does nothing when all are
# there. Without root it says what to install, and fails.
set -eu

fonts="fonts-inter fonts-noto-cjk fonts-noto-color-emoji fonts-noto-core fonts-noto-mono"
packages="bubblewrap chromium-headless-shell $fonts fontconfig curl util-linux"
case "${1:-}" in
run) ;;
test) packages="$packages pgbouncer poppler-utils postgresql prometheus redis-server" ;;
engines)
    packages="$packages pgbouncer postgresql redis-server"
    # Whatever else brought them will do.
    command -v java >/dev/null || packages="$packages default-jre-headless"
    command -v mvn >/dev/null || packages="$packages maven"
    # Go 1.21 brings the newer one that a module asks for; Debian 12 has it in its backports.
    command -v go >/dev/null || packages="$packages golang-go"
    command -v npm >/dev/null || packages="$packages npm"
    ;;
package) packages="$packages busybox-static cpio debootstrap e2fsprogs lintian qemu-system-x86 systemd-container" ;;
*) echo "usage: $0 run|test|package|engines" >&2; exit 2 ;;
esac
python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3 python3-venv"

if ! command -v dpkg-query >/dev/null; then
    echo "This is not Debian; see that these are installed: $packages" >&2
    exit 0
fi
missing=""
for package in $packages; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "Missing packages. As root: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "Installing$missing"
# The tests start servers of their own; the packages need not start theirs.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086 # a list of words
apt-get -qq install --no-install-recommends $missing > /dev/null
