# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154 # work, build, machine: scripts/vm/run
#
# Our own virtual bulk device, running on the host, plugged into the guest's xHCI controller:
# Linux's USB stack enumerates what we wrote, and the same driver reads from it through usbfs.

host_before()
{
	start "$build/devices/usb_bulk/dext-usb-bulk" --socket "$work/usb" --sequence
	machine="$machine -device qemu-xhci,id=xhci -chardev socket,id=usb,path=$work/usb"
	machine="$machine -device usb-redir,chardev=usb,bus=xhci.0"
}

guest()
{
	modprobe xhci-pci
	start_dextd
	"$BUILD/drivers/usb_reader/usb-reader" --bytes 1000000
	stop_dextd
}
