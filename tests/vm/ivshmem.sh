# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154 # work, build, machine: scripts/vm/run
#
# QEMU's shared-memory card, through the kernel's VFIO: an application in the guest maps BAR2 and
# fills it, and the host finds what it wrote in the file behind the card.

host_before()
{
	truncate -s 4M "$work/shared"
	machine="$machine -object memory-backend-file,id=shm,size=4M,mem-path=$work/shared,share=on"
	machine="$machine -device ivshmem-plain,memdev=shm"
}

guest()
{
	bind_vfio 0x1af4:0x1110
	start_dextd
	"$BUILD/drivers/ivshmem/ivshmem-exchange" --write-pattern --pattern 1000 --timeout 30
	stop_dextd
}

# The 64-bit word i is 1000 + i, to the end.
host_after()
{
	od -A n -v -t u8 -w8 "$work/shared" |
		awk '$1 != 999 + NR { print "word " NR - 1 " is " $1; exit bad = 1 }
			END { exit bad || NR != 524288 }' || fail "the host does not find the pattern"
	echo "the host finds the pattern in all 4 MiB"
}
