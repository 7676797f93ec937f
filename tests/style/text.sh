#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every source names its licence; nothing is left for later; nothing names one machine; the files that
# the documents name are there.
set -eu
cd "$(dirname "$0")/../.."

status=0
# refuse WHAT PATTERN: no file but this one matches.
refuse()
{
	if scripts/sources all | grep -v -x -e tests/style/text.sh -e LICENSE | xargs grep -nIwE "$2" /dev/null; then
		echo "$1"
		status=1
	fi
}

refuse "Do it, or open an issue and name its number." 'TODO|FIXME|XXX|HACK'
refuse "Name no machine's folders." '/home/[a-z]+|/work|/root'

unmarked=$(
	{
		scripts/sources all | grep -E '\.([ch]|[ch]pp|iig|sh|py)$|(^|/)meson\.build$' || true
		scripts/sources shell
	} | sort -u | while read -r file; do
		head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$file"
	done
)
if [ -n "$unmarked" ]; then
	echo "Without an SPDX line at the top:"
	echo "$unmarked"
	status=1
fi

absent=$(
	cat README.md CONTRIBUTING.md docs/*.md | tr '`' '\n' | grep -xE '[a-z_]+(/[A-Za-z_]+)*/([A-Za-z_]+\.[a-z]+)?' |
		sort -u | while read -r path; do
		[ -e "$path" ] || echo "$path"
	done
)
if [ -n "$absent" ]; then
	echo "Named in a document, but not there:"
	echo "$absent"
	status=1
fi
exit "$status"
