#!/bin/sh
# Makes dist/reportd: the daemon, its Python and its libraries in one file. Asks nothing of the network.
#
# PyInstaller's own way to one file unpacks it at every start, and leaves a second process between the daemon and
# whoever started it. So it only collects the program, build/binary/reportd, and the file is that folder, packed
# behind a few lines that unpack it the first time.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD work=build/binary

# The same sources give the same file: no time but the commit's, no order but the alphabet's.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH PYTHONHASHSEED=0 LC_ALL=C TZ=UTC
umask 022
rm -rf "$work"
mkdir -p "$work" dist
PYTHONPATH=$root/daemon .venv/bin/python -c 'import reportd; print(reportd.revision())' > "$work/revision"
REPORTD_REVISION_FILE=$root/$work/revision PYTHONPATH=$root/daemon:$root/web \
    .venv/bin/pyinstaller --noconfirm --clean --log-level ERROR \
    --distpath "$work" --workpath "$work/work" packaging/binary/reportd.spec

tar -cf - --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$work" reportd |
    gzip -9n > "$work/reportd.tar.gz"
sed -e "s/@VERSION@/$("$work/reportd/reportd" --version | cut -d' ' -f2-)/" -e "s/@MACHINE@/$(uname -m)/" \
    -e "s/@DIGEST@/$(sha256sum "$work/reportd.tar.gz" | cut -c1-16)/" packaging/binary/unpack.sh > "$work/unpack.sh"
# The offset is written with as many digits as its own place has.
size=$(sed 's/@OFFSET@/00000/' "$work/unpack.sh" | wc -c)
{
    sed "s/@OFFSET@/$(printf %05d $((size + 1)))/" "$work/unpack.sh"
    cat "$work/reportd.tar.gz"
} > dist/reportd.new
chmod 755 dist/reportd.new
mv dist/reportd.new dist/reportd
rm "$work/reportd.tar.gz"

mib=$((($(stat -c %s dist/reportd) + 1048575) / 1048576))
echo "dist/reportd: $mib MiB, $("$work/reportd/reportd" --version)"
if [ "$mib" -gt 80 ]; then
    echo "It is larger than 80 MiB." >&2
    exit 1
fi
