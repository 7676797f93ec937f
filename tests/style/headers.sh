#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# headers.sh BUILD COMPILER…: every header compiles alone, and twice. Not those of bench/, which need
# the rivals' libraries.
set -eu
build=$1
shift
cd "$(dirname "$0")/../.."

status=0
written=$(scripts/sources c | grep '\.h$' | grep -v '^bench/')
generated=$(cd "$build/interfaces" && find DriverKit USBDriverKit PCIDriverKit protocol -name '*.h')
for header in $written $generated; do
	name=${header#include/}
	printf '#include <%s>\n#include <%s>\ntypedef int not_empty;\n' "$name" "$name" |
		"$@" -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only -x c \
			-I. -Iinclude -I"$build/interfaces" -isystem /usr/lib/llvm-14/include - ||
		{ echo "$header does not compile alone, twice"; status=1; }
done
exit "$status"
