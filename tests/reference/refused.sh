#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# refused.sh IIG BUILD LIBRARY…: what the check is there for is found, and named. The headers are
# copied, spoilt in one place, and checked.
set -eu
iig=$1
shift 2
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status=0
# spoilt FILE SED EXPECTED [LIBRARY…]
spoilt()
{
	file=$1 edit=$2 expected=$3
	shift 3
	rm -rf "$work/root"
	mkdir "$work/root"
	cp -r include interfaces "$work/root"
	sed -i "$edit" "$work/root/$file"
	if cmp -s "$file" "$work/root/$file"; then
		echo "$file: '$edit' changes nothing"
		status=1
	elif python3 scripts/reference check "$work/root" "$iig" "$@" >"$work/out" ||
		! grep -qF "$expected" "$work/out"; then
		printf '%s: %s: expected "%s", found:\n' "$file" "$edit" "$expected"
		cat "$work/out"
		status=1
	fi
}

spoilt include/DriverKit/IOLib.h 's/^void IOSleep/\n&/' \
	'DriverKit/IOLib.h: IOSleep: no comment above it' "$@"
spoilt include/USBDriverKit/USBDescriptors.h 's/^typedef struct.*IOUSBEndpointDescriptor {/\n&/' \
	'USBDriverKit/USBDescriptors.h: IOUSBEndpointDescriptor: no comment above it' "$@"
spoilt interfaces/USBDriverKit/IOUSBHostPipe.iig 's|/\*! Abort all|/* Abort all|' \
	'USBDriverKit/IOUSBHostPipe.h: ClearStall: no comment above it' "$@"
spoilt interfaces/DriverKit/IODMACommand.iig 's|^/\*! |/* |' \
	'IODMACommand does not begin with a comment' "$@"
spoilt include/DriverKit/IOLib.h 's/^void IODelay/void IODawdle/' \
	'DriverKit/IOLib.h declares IODawdle, which no library exports' "$@"
spoilt include/DriverKit/IOLib.h '/^void IODelay/d' \
	'exports IODelay, which no public header or interface declares' "$@"
spoilt include/DriverKit/IOLib.h 's/^void IODelay.*/stray words;/' \
	'not understood: what is declared here?' "$@"
exit "$status"
