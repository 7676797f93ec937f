#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bad.sh SOURCE IIG ARGS…: each bad/line_N_reason.iig is refused with an error at its line N that
# holds the text behind "expect:", and nothing is written. Prints TAP.
set -u
source=$1
shift
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Why the file was not refused as it should be; nothing if it was.
complaint()
{
	base=$(basename "$file")
	line=${base#line_}
	line=${line%%_*}
	expected=$(sed -n 's|^/\* expect: \(.*\) \*/$|\1|p' "$file")
	[ -n "$expected" ] || { echo "the file does not say what to expect"; return; }
	"$@" --def "$file" --header "$out/x.h" --impl "$out/x.c" --deps "$out/x.d" 2>"$out/stderr"
	status=$?
	[ $status = 1 ] || { echo "exit status $status instead of 1"; return; }
	head -n 1 "$out/stderr" | grep -qF "$file:$line: error: " || { echo "the first error is not at line $line"; return; }
	head -n 1 "$out/stderr" | grep -qF -- "$expected" || { echo "the error does not say: $expected"; return; }
	[ ! -e "$out/x.h" ] && [ ! -e "$out/x.c" ] && [ ! -e "$out/x.d" ] || echo "something was written"
}

set -- "$@"
count=0
echo "TAP version 13"
for file in "$source"/bad/line_*.iig; do
	count=$((count + 1))
	wrong=$(complaint "$@")
	if [ -z "$wrong" ]; then
		echo "ok $count - $(basename "$file" .iig)"
	else
		echo "not ok $count - $(basename "$file" .iig)"
		echo "# $wrong"
		sed 's/^/# /' "$out/stderr"
		rm -f "$out"/x.*
	fi
done
echo "1..$count"
