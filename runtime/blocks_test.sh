#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# blocks_test.sh ROOT BUILD SANITIZED: builds and runs blocks_test.c, which needs a compiler with
# blocks, under the sanitizers of that compiler: what a block held is freed once, and nothing leaks.
set -eu
root=$1 build=$2 sanitized=$3
command -v clang >/dev/null || { echo "clang is not installed"; exit 77; }
[ "$sanitized" = false ] || { echo "blocks are tested in the plain build, with sanitizers of their own"; exit 77; }
echo '#include <Block.h>' | clang -E - >/dev/null 2>&1 ||
	{ echo "no Block.h (libblocksruntime-dev): blocks are not tested"; exit 77; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# shellcheck disable=SC2046 # a list
clang -fblocks -fsanitize=address,undefined -g -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror \
	-I"$root" -I"$root/include" -I"$build/interfaces" -I"$build/runtime/unit" -o "$out/blocks" \
	"$root/runtime/blocks_test.c" "$build/runtime/unit/UnitObjects.c" -Wl,--start-group \
	"$build/runtime/libruntime.a" "$build/wire/libwire.a" "$build/objects/libobjects.a" \
	"$build/base/libbase.a" -Wl,--end-group $(pkg-config --cflags --libs check) -lBlocksRuntime -lpthread
"$out/blocks"
