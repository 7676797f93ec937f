#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# complete.sh IIG BUILD LIBRARY…: everything public has its comment, what the libraries export is
# public and the other way round, no link of the reference is dead; and docs/reference/README.md,
# for who reads this in a browser, leads to every header and interface file.
set -eu
iig=$1
shift 2
cd "$(dirname "$0")/../.."

status=0
python3 scripts/reference check . "$iig" "$@" || status=1

named=$(grep -oE '\]\(\.\./\.\./[^)]+\)' docs/reference/README.md | sed 's|](../../\(.*\))|\1|')
for file in include/*/*.h include/*/*.hpp interfaces/*Kit/*.iig interfaces/DriverKit/iig.h; do
	echo "$named" | grep -qxF "$file" || { echo "docs/reference/README.md does not name $file"; status=1; }
done
for file in $named; do
	[ -e "$file" ] || { echo "docs/reference/README.md names $file, which is not there"; status=1; }
done
exit "$status"
