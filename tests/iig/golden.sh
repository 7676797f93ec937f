#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# golden.sh check|update SOURCE IIG ARGS…: each golden/X.iig gives golden/X.h and golden/X.c.
set -eu
mode=$1 source=$2
shift 2
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

status=0
for file in "$source"/golden/*.iig; do
	name=$(basename "$file" .iig)
	"$@" --def "$file" --header "$out/$name.h" --impl "$out/$name.c"
	for output in "$name.h" "$name.c"; do
		if [ "$mode" = update ]; then
			cmp -s "$out/$output" "$source/golden/$output" || cp "$out/$output" "$source/golden/$output"
		else
			diff -u "$source/golden/$output" "$out/$output" || status=1
		fi
	done
done
[ $status = 0 ] || echo "If this is what iig should write now: ninja golden-update, and read the difference."
exit $status
