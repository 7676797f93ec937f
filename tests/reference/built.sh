#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# built.sh IIG BUILD LIBRARY…: what was built is what would be built now, byte for byte; each manual
# page that leads to another leads somewhere; groff has no complaint about any page.
set -eu
iig=$1
build=$2
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

version=$(sed -n 's/^\.TH .*"OpenDext \([0-9][^"]*\)".*/\1/p' "$build/docs/man1/iig.1")
python3 scripts/reference build . "$iig" "$work" "$version" "$iig" "$build/dextctl/dextctl" "$build/dextd/dextd"
status=0
for folder in reference man1 man3 man8; do
	diff -r "$build/docs/$folder" "$work/$folder" || { echo "$folder is not current: run ninja"; status=1; }
done
sed -n 's/^\.so //p' "$work"/man3/* | sort -u | while read -r page; do
	[ -e "$work/$page" ] || { echo "a manual page leads to $page, which is not there"; exit 1; }
done || status=1
[ "$status" -eq 0 ] || exit 1

if ! command -v groff >/dev/null; then
	echo "no groff here to read the manual pages with"
	exit 77
fi
for page in "$work"/man[138]/*; do
	case $(head -c 4 "$page") in
	".so ") continue ;;
	esac
	groff -man -Tutf8 -K utf8 -ww -z "$page" >"$work/warnings" 2>&1 || status=1
	if [ -s "$work/warnings" ]; then
		cat "$work/warnings"
		status=1
	fi
done
exit "$status"
