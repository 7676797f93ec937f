# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154 # work, build, machine: scripts/vm/run
#
# The kernel's own test gadget, through usbfs. It is plugged in when dextd runs already.

guest()
{
	start_dextd
	source_sink
	"$BUILD/drivers/usb_reader/usb-reader" --bytes 1000000
	stop_dextd
}
