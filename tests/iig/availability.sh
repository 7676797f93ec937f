#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# availability.sh ROOT BUILD CC CXX IIG ARGS…: what a driver may call that is compiled for a version of the API.
set -eu
root=$1 build=$2 cc=$3 cxx=$4
shift 4
for compiler in "$cc" "$cxx"; do
	command -v "$compiler" >/dev/null || { echo "$compiler is not installed"; exit 77; }
done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags="-Wall -Wextra -Werror -I$root -I$root/include -I$build/interfaces -I$out"
"$@" --def "$root/tests/iig/golden/version.iig" --header "$out/version.h" --impl "$out/version.c" \
	--cxx-header "$out/version.hpp"

status=0
# expect RESULT API CALL: CALL compiles for that version, in C and in C++, is "unavailable" there, or "deprecated".
expect()
{
	c="VersionBelow_$3" cpp="v->$3"
	printf '#include "version.h"\nvoid f(VersionBelow *v);\nvoid f(VersionBelow *v)\n{\n\t(void)%s;\n}\n' \
		"$(echo "$c" | sed 's/(/(v, /; s/, )/)/')" >"$out/f.c"
	printf '#include "version.h"\nvoid f(VersionBelow *v);\nvoid f(VersionBelow *v)\n{\n\t(void)%s;\n}\n' "$cpp" >"$out/f.cpp"
	# shellcheck disable=SC2086 # flags is a list
	for command in "$cc -std=c17 $out/f.c" "$cxx -std=c++17 $out/f.cpp"; do
		# shellcheck disable=SC2086
		if $command $flags $2 -c -o "$out/f.o" 2>"$out/stderr"; then got=works
		elif grep -q "unavailable" "$out/stderr"; then got=unavailable
		elif grep -q "deprecated" "$out/stderr"; then got=deprecated
		else got=fails
		fi
		[ $got = "$1" ] || { echo "$3 with \"$2\" $got, and should be $1: $command"; cat "$out/stderr"; status=1; }
	done
}
for api in "" -DDEXT_API=25; do
	expect works "$api" "old(1)"
	expect works "$api" "fresh(1)"
	expect works "$api" "plain()"
done
expect unavailable -DDEXT_API=20 "old(1)"
expect works -DDEXT_API=21 "old(1)"
expect unavailable -DDEXT_API=24 "fresh(1)"
expect unavailable -DDEXT_API=22 "plain()"
expect works -DDEXT_API=23 "going(1)"
expect deprecated -DDEXT_API=24 "going(1)"
expect unavailable -DDEXT_API=26 "going(1)"
grep -q "use ..fresh()" "$out/version.h" || { echo "the message is lost"; status=1; }

# The file's own source compiles whatever the version.
for api in 20 24 26; do
	# shellcheck disable=SC2086
	"$cc" -std=c17 -D_GNU_SOURCE $flags -DDEXT_API=$api -c -o "$out/x.o" "$out/version.c" || status=1
done
exit $status
