#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# blocks_test.sh ROOT BUILD SANITIZED: builds and runs blocks_test.c, which needs a compiler with blocks.
set -eu
root=$1 build=$2 sanitized=$3
command -v clang >/dev/null || { echo "clang is not installed"; exit 77; }
[ "$sanitized" = false ] || { echo "blocks are tested in the plain build"; exit 77; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
clang -fblocks -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror -I"$root" -I"$root/include" \
	-I"$build/interfaces" -o "$out/blocks" "$root/objects/blocks_test.c" \
	"$build/objects/libobjects.a" "$build/base/libbase.a" -lpthread
"$out/blocks"
