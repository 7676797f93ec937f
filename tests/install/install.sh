#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# install.sh BUILD PREFIX LIBDIR COMPILER…: what `meson install` installs is enough. The tutorial's
# driver and application are built in a folder that knows nothing of this tree, by what pkg-config
# says, and run on the dextd that was installed.
set -eu
build=$1
prefix=$2
libdir=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
tutorial=$(cd "$here/../../drivers/tutorial" && pwd)

work=$(mktemp -d)
chmod 755 "$work" # a dextd of root starts drivers as another user
dextd=
finish()
{
	if [ -n "$dextd" ]; then
		kill "$dextd" 2>/dev/null || true
		wait "$dextd" || true
	fi
	rm -rf "$work"
}
trap finish EXIT

root=$work/root
DESTDIR=$root meson install -C "$build" --no-rebuild --quiet
for program in dextd dextctl iig; do
	[ -x "$root$prefix/bin/$program" ] || { echo "$program is not installed"; exit 1; }
done

# Where what was installed lies for now, not where it believes to lie.
export PKG_CONFIG_SYSROOT_DIR="$root" PKG_CONFIG_LIBDIR="$root$prefix/$libdir/pkgconfig"
below()
{
	case $1 in
	"$root"*) echo "$1" ;;
	*) echo "$root$1" ;;
	esac
}
iig=$(below "$(pkg-config --variable=iig opendext-driver)")
interfaces=$(below "$(pkg-config --variable=interfaces opendext-driver)")
rpath=-Wl,-rpath,$root$prefix/$libdir

mkdir -p "$work/src" "$work/bundles/counter.dext" "$work/policy"
cp "$tutorial"/Counter.c "$tutorial"/Counter.iig "$tutorial"/count.c "$here"/quiet.c "$work/src"
cd "$work/src"
"$iig" --def Counter.iig --header Counter.h --impl Counter.iig.c -I "$interfaces"
# shellcheck disable=SC2046 # they are several words
"$@" -std=c17 -Wall -Werror $(pkg-config --cflags opendext-driver) -I. Counter.c Counter.iig.c \
	-o "$work/bundles/counter.dext/counter" $(pkg-config --libs opendext-driver) "$rpath"
for program in count quiet; do
	# shellcheck disable=SC2046
	"$@" -std=c17 -Wall -Werror $(pkg-config --cflags opendext-client) "$program.c" -o "$program" \
		$(pkg-config --libs opendext-client) "$rpath"
done
cp "$tutorial/Info.plist" "$work/bundles/counter.dext"

mkfifo "$work/ready"
OPENDEXT_SOCKET=$work/socket
export OPENDEXT_SOCKET
"$root$prefix/bin/dextd" --socket "$OPENDEXT_SOCKET" --bundles "$work/bundles" --no-real \
	--policy "$work/policy" --ready-fd 3 3>"$work/ready" &
dextd=$!
read -r ready <"$work/ready"
[ "$ready" = ready ]
./quiet
first=$(./count 5)
second=$(./count 2)
[ "$first $second" = "5 7" ] || { echo "FAIL: 5 and 2 more are $first and $second"; exit 1; }
"$root$prefix/bin/dextctl" tree | grep -q Counter || { echo "FAIL: dextctl shows no Counter"; exit 1; }
