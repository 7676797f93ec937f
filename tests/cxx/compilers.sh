#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# compilers.sh ROOT BUILD CC CXX: every public header compiles alone, twice, as C++; so do the
# drivers and what iig wrote for them; and the classes of both languages, compiled by these two
# compilers, work together. With a compiler that knows blocks they are used.
set -eu
root=$1 build=$2 cc=$3 cxx=$4
command -v "$cxx" >/dev/null || { echo "$cxx is not installed"; exit 77; }
command -v "$cc" >/dev/null || { echo "$cc is not installed"; exit 77; }
cd "$root"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

folders="-I. -Iinclude -I$build/interfaces -I$build/tests/cxx -Itests/cxx/cross
	-Idrivers/usb_reader -Idrivers/ivshmem"
flags="-O2 -D_GNU_SOURCE -fvisibility=hidden -Wall -Wextra -Wpedantic -Wshadow -Wundef -Wcast-qual
	-Wconversion -Wno-sign-conversion -Werror"
cxx_flags="$flags -std=c++17 -fno-rtti -fno-exceptions -Wnon-virtual-dtor -Woverloaded-virtual"
blocks=""
libraries=$(pkg-config --libs check)
if "$cxx" -fblocks -x c++ -E - </dev/null >/dev/null 2>&1; then
	if echo '#include <Block.h>' | "$cxx" -x c++ -E - >/dev/null 2>&1; then
		blocks=-fblocks
		libraries="$libraries -lBlocksRuntime"
	else
		echo "no Block.h (libblocksruntime-dev): blocks are not tested"
	fi
fi

# compile COMPILER FLAG… FILE: an object in $out.
compile()
{
	for file in "$@"; do :; done
	"$@" -c -o "$out/$(basename "$file").o"
}

status=0
headers=$(cd include && find DriverKit USBDriverKit PCIDriverKit IOKit opendext -name '*.h')
generated=$(cd "$build/interfaces" && find DriverKit USBDriverKit PCIDriverKit -name '*.h')
for header in $headers $generated; do
	printf '#include <%s>\n#include <%s>\n' "$header" "$header" >"$out/alone.cpp"
	# shellcheck disable=SC2086 # lists
	"$cxx" $cxx_flags $blocks $folders -fsyntax-only "$out/alone.cpp" ||
		{ echo "$header does not compile as C++, alone and twice"; status=1; }
done

# Every construct of the interface language, as a class in C and as one in C++.
mkdir "$out/in-c" "$out/in-cxx"
for file in tests/iig/golden/widget tests/iig/golden/cargo tests/iig/golden/driver; do
	name=$(basename "$file")
	"$build/iig/iig" --def "$file.iig" --header "$out/in-c/$name.h" --impl "$out/in-c/$name.c" \
		--cxx-header "$out/in-c/$name.hpp" -I interfaces -I include
	"$build/iig/iig" --def "$file.iig" --header "$out/in-cxx/$name.h" --impl "$out/in-cxx/$name.c" \
		--cxx-header "$out/in-cxx/$name.hpp" --cxx-impl "$out/in-cxx/$name.iig.cpp" \
		-I interfaces -I include
	echo "#include \"$name.h\"" >"$out/in-c/alone.cpp"
	# shellcheck disable=SC2086
	"$cxx" $cxx_flags $blocks $folders -fsyntax-only "$out/in-c/alone.cpp" || status=1
	# shellcheck disable=SC2086
	"$cxx" $cxx_flags $blocks $folders -fsyntax-only "$out/in-cxx/$name.iig.cpp" || status=1
	# shellcheck disable=SC2086
	"$cc" $flags -std=c17 $folders -fsyntax-only "$out/in-cxx/$name.c" || status=1
done

# What has no form in C++ is refused.
refused=$("$build/iig/iig" --def tests/iig/golden/protocol.iig --header "$out/x.h" --impl "$out/x.c" \
	--cxx-header "$out/x.hpp" -I interfaces -I include 2>&1) && status=1
echo "$refused" | grep -q "a PROTOCOL class is for C alone" || { echo "protocol: $refused"; status=1; }
refused=$("$build/iig/iig" --def interfaces/DriverKit/OSObject.iig --header "$out/x.h" --impl "$out/x.c" \
	--cxx-header "$out/x.hpp" --cxx-impl "$out/x.cpp" -I interfaces -I include 2>&1) && status=1
echo "$refused" | grep -q "the root is implemented in C" || { echo "root: $refused"; status=1; }
[ ! -e "$out/x.hpp" ] || { echo "a header was written though it was refused"; status=1; }

# shellcheck disable=SC2086
for file in tests/cxx/*/*.cpp "$build"/tests/cxx/*.cpp; do
	compile "$cxx" $cxx_flags $blocks $folders "$file" || status=1
done
# shellcheck disable=SC2086
for file in tests/cxx/cross/*.c "$build"/tests/cxx/Cross*.c; do
	compile "$cc" $flags -std=c17 $folders "$file" || status=1
done
[ $status = 0 ] || exit $status

# shellcheck disable=SC2086
"$cc" -o "$out/cross" "$out"/Cross*.o "$out"/callers.cpp.o "$out"/cross_test.c.o \
	-Wl,--start-group "$build"/runtime/libruntime.a "$build"/wire/libwire.a \
	"$build"/objects/libobjects.a "$build"/base/libbase.a -Wl,--end-group $libraries
if [ -n "$blocks" ]; then
	CROSS_BLOCKS=1 "$out/cross"
else
	"$out/cross"
fi
