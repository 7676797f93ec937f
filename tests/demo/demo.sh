#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# demo.sh BUILD: the demo succeeds, and its last line is the facts as JSON.
set -eu
cd "$(dirname "$0")/../.."
lines=$(scripts/demo "$1" --json)
echo "$lines"
echo "$lines" | tail -n 1 | grep -qxE '\{"usb":\{"bytes":[1-9][0-9]*,"errors":0\},"pci":\{"mapped":[1-9][0-9]*,"exchanged":true\},"restart":\{"ms":[0-9]+\}\}' || {
	echo "FAIL: that is not what the last line should be"
	exit 1
}
