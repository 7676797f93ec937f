# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154 # work, build, machine: scripts/vm/run
#
# QEMU's edu card, through the kernel's VFIO: the same driver and the same tests as on our own card
# (pci-edu), with interrupts that the kernel delivers, by INTx and by MSI.

host_before()
{
	machine="$machine -device edu"
}

guest()
{
	bind_vfio 0x1234:0x11e8
	start_dextd
	FACTORIAL="$BUILD/drivers/edu/factorial" EDU_RUNS=1 "$BUILD/tests/pci/pci-edu"
	stop_dextd
}
