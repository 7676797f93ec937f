#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Put a driver's bundle together: bundle.sh FOLDER NAME EXECUTABLE INFO.PLIST STAMP
# The executable is copied, not linked: dextd refuses a bundle that points outside of itself.
set -eu
bundle=$1/$2.dext
mkdir -p "$bundle"
cp -f "$3" "$bundle/.$2.new"
mv -f "$bundle/.$2.new" "$bundle/$2"
cp -f "$4" "$bundle/Info.plist"
: > "$5"
