#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# compile.sh ROOT BUILD COMPILER: every generated source, the golden ones too, compiles without a
# warning under the strictest flags, and so do all generated headers in one file in either order;
# where the compiler has blocks, with them as well.
set -eu
root=$1 build=$2 compiler=$3
command -v "$compiler" >/dev/null || { echo "$compiler is not installed"; exit 77; }
cd "$root"

flags="-std=c17 -D_GNU_SOURCE -fvisibility=hidden -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes
	-Wmissing-prototypes -Wundef -Wpointer-arith -Wvla -Wimplicit-fallthrough -Wformat=2 -Wwrite-strings
	-Wcast-qual -Wconversion -Wno-sign-conversion -Wnull-dereference -Wno-missing-field-initializers
	-Werror -I. -Iinclude -I$build/interfaces"
case $compiler in
gcc*) flags="$flags -Wjump-misses-init -Wlogical-op -Wduplicated-cond -Wduplicated-branches" ;;
esac
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

variants=""
echo '#include <Block.h>' | "$compiler" -fblocks -E - >/dev/null 2>&1 && variants=-fblocks

status=0
for file in tests/iig/golden/*.c "$build"/interfaces/*/*.c; do
	# shellcheck disable=SC2086 # flags is a list
	"$compiler" $flags -O2 -c -o "$out/x.o" "$file" || status=1
done

headers=$(cd "$build/interfaces" && find -L . -name '*.h' | sed 's|^\./||')
for order in sort 'sort -r'; do
	for header in $headers; do
		echo "#include <$header>"
	done | $order >"$out/all.c"
	echo "int main(void) { return 0; }" >>"$out/all.c"
	echo '#include <tests/iig/golden/widget.h>' >>"$out/all.c"
	for variant in "" $variants; do
		# shellcheck disable=SC2086
		"$compiler" $flags $variant -O2 -c -o "$out/x.o" "$out/all.c" || status=1
	done
done
exit $status
