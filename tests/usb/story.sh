#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The USB story with real processes: story.sh CASE. A virtual bulk device, a private dextd, the
# reader's driver that it starts, and the reader's application. A case says how the device behaves
# and what must come of it. Where things were built comes from the environment.
set -eu

folder=$(mktemp -d /tmp/dext-usb.XXXXXX)
chmod 755 "$folder"
device=""
dextd=""
mkdir "$folder/bundles"
cp -R "$USB_BUNDLE" "$folder/bundles/"
export OPENDEXT_SOCKET="$folder/socket"

end()
{
	[ -z "$dextd" ] || kill "$dextd" 2>/dev/null || :
	[ -z "$device" ] || kill "$device" 2>/dev/null || :
	wait
	rm -rf "$folder"
}
trap end EXIT

fail()
{
	echo "FAIL: $*"
	cat "$folder/log"
	exit 1
}

# start DEVICE-OPTION…: the device and dextd, both ready.
start()
{
	mkfifo "$folder/device-ready" "$folder/dextd-ready"
	"$USB_DEVICE" --socket "$folder/device" "$@" >"$folder/device-ready" 2>>"$folder/log" &
	device=$!
	read -r _ <"$folder/device-ready" || fail "the device does not start"
	"$USB_DEXTD" --socket "$folder/socket" --bundles "$folder/bundles" --no-real --log debug \
		--virtual "usbredir:$folder/device" --ready-fd 3 \
		3>"$folder/dextd-ready" 2>>"$folder/log" &
	dextd=$!
	read -r _ <"$folder/dextd-ready" || fail "dextd does not start"
}

# stop: both end well, and no sanitizer found anything.
stop()
{
	kill "$dextd"
	wait "$dextd" || fail "dextd ended with $?"
	dextd=""
	kill "$device"
	wait "$device" || fail "the device ended with $?"
	device=""
	! grep -E 'Sanitizer|runtime error' "$folder/log" || fail "a sanitizer found something"
}

# reads KEY: the value of KEY in the application's JSON.
value()
{
	sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" "$folder/result"
}

# good BYTES: the application reads so much without an error.
good()
{
	"$USB_READER" --bytes "$1" --json >"$folder/result" 2>>"$folder/log" || fail "it does not read"
	[ "$(value bytes)" -ge "$1" ] || fail "it read too little: $(cat "$folder/result")"
	[ "$(value errors)" = 0 ] || fail "it saw errors: $(cat "$folder/result")"
}

# bad REASON: the device misbehaves; the application comes to an end of its own, and dextd tells why.
bad()
{
	"$USB_READER" --seconds 0.3 --json >"$folder/result" 2>>"$folder/log" || :
	grep -q "$1" "$folder/log" || fail "nobody says \"$1\""
	kill -0 "$dextd" || fail "dextd died of it"
	kill -0 "$device" || fail "the device died of it"
}

# The process of the driver that runs now.
driver()
{
	sed -n 's/.*UsbReader runs in process \([0-9]*\).*/\1/p' "$folder/log" | tail -n 1
}

case $1 in
mod63)
	start
	good 20000000
	good 1000000 # again, by the next application
	;;
sequence)
	start --sequence
	good 20000000
	;;
two-applications)
	start --sequence
	"$USB_READER" --bytes 20000000 --json >"$folder/other" 2>>"$folder/log" &
	other=$!
	good 20000000
	wait "$other" || fail "the other application failed"
	;;
killed)
	start --sequence
	mkfifo "$folder/lines"
	"$USB_READER" --seconds 1 --restarts 1 >"$folder/lines" 2>>"$folder/log" &
	reader=$!
	exec 4<"$folder/lines"
	read -r line <&4
	kill -9 "$(driver)"
	restarted=""
	while read -r line <&4; do
		case $line in "the driver was restarted"*) restarted=$line ;; esac
		last=$line
	done
	wait "$reader" || fail "the application failed: $last"
	[ -n "$restarted" ] || fail "the application saw no restart: $last"
	case $last in *" 0 errors, 1 restarts") ;; *) fail "it ended with: $last" ;; esac
	;;
stall)
	start --misbehave=stall-after=20
	"$USB_READER" --bytes 2000000 --json >"$folder/result" 2>>"$folder/log" || :
	[ "$(value errors)" = 1 ] || fail "one error was expected: $(cat "$folder/result")"
	[ "$(value bytes)" -ge 2000000 ] || fail "it did not go on: $(cat "$folder/result")"
	;;
hang-up)
	start --misbehave=hangup-after=20
	bad "the peer hung up"
	;;
garbage)
	start --misbehave=garbage=20
	bad "a packet of an unknown type"
	;;
long-reply)
	start --misbehave=long-reply=20
	bad "more than it was asked for"
	;;
wrong-id)
	start --misbehave=wrong-id=20
	bad "answered a request nobody made"
	;;
hold)
	start --misbehave=hold-after=20
	bad "UsbReader runs" # it reads no more, and the driver stops when it must
	;;
silent)
	start --misbehave=silent=20
	bad "UsbReader runs" # not even the cancels are heard: the driver gives up after two seconds
	;;
*)
	echo "no case $1"
	exit 2
	;;
esac
stop
echo "ok: $1"
