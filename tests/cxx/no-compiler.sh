#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Stands for the tests of this folder where there is no C++ compiler.
echo "no C++ compiler was found when the build was set up"
exit 77
