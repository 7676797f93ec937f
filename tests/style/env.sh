#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# docs/env.md names every environment variable that the programs read or set, and no other.
set -eu
cd "$(dirname "$0")/../.."

read_or_set=$(
	{
		scripts/sources c | grep -v '^tests/' | xargs grep -ohE '"OPENDEXT_[A-Z_]+[="]' /dev/null
		grep -ohE '\$\{OPENDEXT_[A-Z_]+[:}]' dev scripts/demo scripts/vm/*
	} | grep -oE 'OPENDEXT_[A-Z_]+' | sort -u
)
named=$(grep -E '^\| .OPENDEXT_[A-Z_]+. ' docs/env.md | cut -d '|' -f 2 | grep -oE 'OPENDEXT_[A-Z_]+' | sort -u)
[ "$read_or_set" = "$named" ] || {
	printf 'read or set:\n%s\nin docs/env.md:\n%s\n' "$read_or_set" "$named"
	exit 1
}
