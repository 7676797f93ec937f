#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./dev says what it can do, installs nothing when told so, and its count is what the log says.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail()
{
	echo "FAIL: $*"
	exit 1
}

./dev | grep -q '^usage: ./dev' || fail "./dev alone prints no usage"
if ./dev nonsense 2>"$work/out"; then
	fail "an unknown command succeeds"
fi

# A machine on which no package is installed.
mkdir "$work/bin"
printf '#!/bin/sh\nexit 1\n' >"$work/bin/dpkg-query"
printf '#!/bin/sh\necho "$@" >>%s/installed\n' "$work" >"$work/bin/apt-get"
chmod +x "$work/bin/"*
if PATH="$work/bin:$PATH" OPENDEXT_NO_INSTALL=1 ./dev build >"$work/out" 2>&1; then
	fail "missing packages are not an error"
fi
grep -q 'missing Debian packages.* libplist-dev' "$work/out" || fail "missing packages are not listed"
[ ! -e "$work/installed" ] || fail "it installed: $(cat "$work/installed")"

# What meson's log says is what is counted; a skip gives its reason.
cat >"$work/log" <<'END'
{"name": "a", "result": "OK", "stdout": ""}
{"name": "b", "result": "SKIP", "stdout": "trying\nno such device here\n"}
{"name": "c", "result": "TIMEOUT", "stdout": ""}
END
if scripts/test-summary "$work/log" >"$work/out"; then
	fail "a failed test is not an error"
fi
grep -q '^skipped: b: no such device here$' "$work/out" || fail "the skip has no reason"
[ "$(tail -n 1 "$work/out")" = "1 passed, 1 failed, 1 skipped" ] || fail "$(cat "$work/out")"
: >"$work/log"
if scripts/test-summary "$work/log" >"$work/out"; then
	fail "a run of no tests succeeds"
fi
