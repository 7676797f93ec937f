#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# frozen.sh check|update ROOT IIG: every interface of ours keeps what frozen/ says of it.
set -eu
mode=$1 root=$2 iig=$(realpath "$3")
cd "$root/interfaces"

status=0
for file in */*.iig; do
	frozen=frozen/${file%.iig}.frozen
	if [ "$mode" = update ]; then
		mkdir -p "${frozen%/*}"
		"$iig" freeze "$file" -o "$frozen" -I . -I ../include
	elif [ ! -e "$frozen" ]; then
		echo "interfaces/$file has not been frozen"
		status=1
	else
		"$iig" check "$file" "$frozen" -I . -I ../include || status=1
	fi
done
for frozen in frozen/*/*.frozen; do
	name=${frozen#frozen/}
	[ -e "${name%.frozen}.iig" ] || { echo "interfaces/$frozen: its interface is gone"; status=1; }
done
[ $status = 0 ] || echo "Where this is meant: ninja -C build interfaces-freeze, and say in the commit why callers are none."
exit $status
