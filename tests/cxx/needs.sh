#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# needs.sh DRIVER: a driver in C++ that uses no C++ library needs none.
set -eu
needed=$(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
echo "$needed"
echo "$needed" | grep -q '^libdext\.so' || { echo "not even libdext: was this looked at?"; exit 1; }
! echo "$needed" | grep -E 'stdc\+\+|libc\+\+|libgcc'
