# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154 # work, build, machine: scripts/vm/run
#
# QEMU's shared-memory card with doorbells, through the kernel's VFIO: several vectors of MSI-X, with
# the driver and the tests of our own card (pci-doorbell).

host_before()
{
	start "$build/tests/vm/doorbell-server" "$work/doorbell"
	machine="$machine -chardev socket,id=peers,path=$work/doorbell"
	machine="$machine -device ivshmem-doorbell,vectors=4,chardev=peers"
}

guest()
{
	bind_vfio 0x1af4:0x1110
	start_dextd
	DOORBELL_RUNS=1 "$BUILD/tests/pci/pci-doorbell"
	stop_dextd
}
