#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# edits.sh IIG ARGS…: `iig check` lets additions pass and refuses each edit that breaks a caller, at its
# line and with what to do. Prints TAP.
set -u
iig=$1
shift
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cat >"$out/base.iig" <<'END'
#pragma once
#include <DriverKit/OSAction.iig>
struct Part { uint32_t low; uint16_t high; };
class Base : public OSObject
{
public:
	virtual kern_return_t set(uint32_t value) QUEUENAME(Slow);
	virtual kern_return_t put(struct Part part);
	static kern_return_t Create(uint32_t size);
	void plain(uint32_t value) LOCALONLY;
	virtual void Done(OSAction * action TARGET, uint32_t value);
	virtual void Other(OSAction * action TARGET, uint32_t value);
	virtual void onDone(OSAction * action TARGET, uint32_t value) TYPE(Done);
	virtual kern_return_t late() __attribute__((availability(driverkit, introduced=22)));
};
class EXTENDS(Base) More
{
	virtual kern_return_t more();
};
END
"$iig" freeze "$out/base.iig" -o "$out/base.frozen" "$@" || exit 1

count=0
# refused NAME LINE SED EXPECTED ARGS…
refused()
{
	name=$1 line=$2 script=$3 expected=$4
	shift 4
	count=$((count + 1))
	sed "$script" "$out/base.iig" >"$out/edited.iig"
	cmp -s "$out/base.iig" "$out/edited.iig" && echo "# the edit changes nothing"
	"$iig" check "$out/edited.iig" "$out/base.frozen" "$@" 2>"$out/stderr"
	status=$?
	if [ $status = 1 ] && head -n 1 "$out/stderr" | grep -q "^$out/edited.iig:$line: error: " &&
		grep -qF -- "$expected" "$out/stderr" && grep -qF "base.frozen:" "$out/stderr"; then
		echo "ok $count - $name"
	else
		echo "not ok $count - $name (status $status)"
		sed 's/^/# /' "$out/stderr"
	fi
}
passes()
{
	name=$1 script=$2
	shift 2
	count=$((count + 1))
	sed "$script" "$out/base.iig" >"$out/edited.iig"
	if "$iig" check "$out/edited.iig" "$out/base.frozen" "$@" 2>"$out/stderr"; then
		echo "ok $count - $name"
	else
		echo "not ok $count - $name"
		sed 's/^/# /' "$out/stderr"
	fi
}

echo "TAP version 13"
passes "nothing changed" "" "$@"
passes "a method more" 's|.*late().*|&\n\tvirtual kern_return_t newer();|' "$@"
passes "a class more" '/^class EXTENDS/i class Third : public OSObject { };' "$@"
passes "another name of a parameter, another typedef" 's|set(uint32_t value)|set(IOOptionBits flags)|' "$@"
passes "methods in another order" '/virtual kern_return_t put/{h;d};/late()/G' "$@"
passes "available earlier" 's|introduced=22|introduced=21|' "$@"
refused "a method is gone" 4 '/put(/d' "give it back" "$@"
refused "a method has another name" 4 's|set(|sets(|' "method set is gone" "$@"
refused "another parameter type" 7 's|set(uint32_t|set(uint64_t|' "its signature is Base::set(u64)i32, and was frozen as Base::set(u32)i32" "$@"
refused "a parameter more" 7 's|set(uint32_t value|&, bool more|' "add what is new under another name" "$@"
refused "another layout of a structure" 8 's|uint16_t high|uint32_t high|' "put({u32,u32})i32" "$@"
refused "no layout of a structure is longer" 8 's|uint16_t high;|& uint16_t more;|' "put({u32,u16,u16})i32" "$@"
refused "another queue" 7 's|Slow|Fast|' "its QUEUENAME is Fast, and was frozen as Slow" "$@"
refused "no queue" 7 's| QUEUENAME(Slow)||' "its QUEUENAME is -" "$@"
refused "a method that stays in the process" 8 's|put(struct Part part)|& LOCALONLY|' "its attribute list is localonly" "$@"
refused "a static method became one of an object" 9 's|static|virtual|' "its kind is virtual, and was frozen as static" "$@"
refused "another signature of a function" 10 's|plain(uint32_t|plain(uint8_t|' "plain(u8)void" "$@"
refused "another prototype" 13 's|TYPE(Done)|TYPE(Other)|' "its TYPE() is Base::Other" "$@"
refused "available later" 14 's|introduced=22|introduced=23|' "its availability is 23, and was frozen as 22" "$@"
refused "a class is gone" 1 '/^class EXTENDS/,/^};/d' "class More is gone" "$@"
refused "another super class" 4 's|class Base : public OSObject|class Base : public OSAction|' "its super class is OSAction" "$@"

count=$((count + 1))
echo "class" >"$out/broken.frozen"
if "$iig" check "$out/base.iig" "$out/broken.frozen" "$@" 2>"$out/stderr" || ! grep -q "broken.frozen:1: error: " "$out/stderr"; then
	echo "not ok $count - a snapshot that is none"
else
	echo "ok $count - a snapshot that is none"
fi
count=$((count + 1))
sed 's/queue=-//' "$out/base.frozen" >"$out/broken.frozen"
if "$iig" check "$out/base.iig" "$out/broken.frozen" "$@" 2>"$out/stderr" || ! grep -q "broken.frozen:[0-9]*: error: " "$out/stderr"; then
	echo "not ok $count - a snapshot with a word missing"
else
	echo "ok $count - a snapshot with a word missing"
fi
echo "1..$count"
