#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The C sources are as clang-format would write them: `./dev format`.
set -eu
cd "$(dirname "$0")/../.."
command -v clang-format-14 >/dev/null || { echo "clang-format-14 is not installed"; exit 77; }
scripts/sources c | xargs clang-format-14 --dry-run -Werror
