#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# golden.sh check|update SOURCE IIG ARGS…: each golden/X.iig gives golden/X.h and golden/X.c; the
# widget, which is implemented in C, golden/widget.hpp, and the driver, as if it were in C++,
# golden/driver.hpp and golden/driver.iig.cpp; the widget and the versions also the snapshot and the JSON of
# their models.
set -eu
mode=$1 source=$2
shift 2
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

status=0
for file in "$source"/golden/*.iig; do
	name=$(basename "$file" .iig)
	outputs="$name.h $name.c"
	case $name in
	widget)
		outputs="$outputs $name.hpp"
		"$@" --def "$file" --header "$out/x.h" --impl "$out/x.c" --cxx-header "$out/$name.hpp"
		;;
	driver)
		outputs="$outputs $name.hpp $name.iig.cpp"
		"$@" --def "$file" --header "$out/$name.h" --impl "$out/x.c" --cxx-header "$out/$name.hpp" \
			--cxx-impl "$out/$name.iig.cpp"
		;;
	esac
	"$@" --def "$file" --header "$out/$name.h" --impl "$out/$name.c"
	case $name in
	widget | version)
		outputs="$outputs $name.frozen $name.json"
		(
			iig=$(realpath "$1")
			shift
			cd "$source/golden"
			"$iig" freeze "$name.iig" -o "$out/$name.frozen" "$@"
			"$iig" doc "$name.iig" -o "$out/$name.json" "$@"
		)
		;;
	esac
	for output in $outputs; do
		if [ "$mode" = update ]; then
			cmp -s "$out/$output" "$source/golden/$output" || cp "$out/$output" "$source/golden/$output"
		else
			diff -u "$source/golden/$output" "$out/$output" || status=1
		fi
	done
done
[ $status = 0 ] || echo "If this is what iig should write now: ninja golden-update, and read the difference."
exit $status
