#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The linter finds nothing in the scripts.
set -eu
cd "$(dirname "$0")/../.."
command -v shellcheck >/dev/null || { echo "shellcheck is not installed"; exit 77; }
scripts/sources shell | xargs shellcheck
