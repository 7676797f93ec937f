/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The methods of the Victim driver, for the driver and its tests. */

enum victim_method {
	VICTIM_ECHO,        // any scalars: the same come back
	VICTIM_STRUCTURE,   // a structure of exactly 16 bytes: its bytes reversed
	VICTIM_DIE,         // abort()
	VICTIM_HANG,        // never returns
	VICTIM_OPEN,        // open("/etc/passwd"): out: errno
	VICTIM_SOCKET,      // socket(AF_UNIX): out: errno
	VICTIM_EXEC,        // execve("/bin/true"): out: errno
	VICTIM_FORBIDDEN,   // a system call that no driver needs
	VICTIM_COMPLETE,    // asynchronous: in: how many values; completes at once with 1, 2, …
	VICTIM_KEEP,        // asynchronous: kept until VICTIM_RELEASE, or the end of the client
	VICTIM_RELEASE,     // in: 1 complete what was kept with success, 0 drop it
	VICTIM_TOO_MUCH,    // returns a larger structure than the caller has room for
	VICTIM_POKE,        // in: offset, value: writes a byte to the shared memory
	VICTIM_WAIT,        // sets byte 0 of the shared memory, returns when byte 1 is set
	VICTIM_NO_FUNCTION, // a row without a function
	VICTIM_INVERT,      // any structure: each byte inverted; above 4096, again and again until
			    // the room is full
	VICTIM_BURST,       // in: how many times to complete what was kept; out: as many as were
			    // accepted, and the status of the last
	VICTIM_INVERT_DATA, // the same, returned as data, whatever the room
	VICTIM_EXACT,       // VICTIM_INVERT of exactly VICTIM_EXACT_SIZE bytes
	VICTIM_READ_LATE,   // as VICTIM_WAIT, then reads the structure; out: the sum of its bytes;
			    // kIOReturnNotPermitted: it was lost
	VICTIM_MISUSE,      // releases an object twice, and forgets another
	VICTIM_COUNT,       // in: any number; out: the same, and how many such calls came before
	VICTIM_LEND,      // in: options, then up to 7 times address, length: kept as one descriptor
	VICTIM_LENT_SUM,  // out: the sum of the bytes of what was lent
	VICTIM_LENT_FILL, // in: a byte: all of what was lent becomes that, and is given back
	VICTIM_WAIT_AGAIN,   // as VICTIM_WAIT, but idempotent; out: the driver's process
	VICTIM_ECHO_AGAIN,   // as VICTIM_ECHO, but idempotent
	VICTIM_DIE_AGAIN,    // as VICTIM_DIE, but idempotent
	VICTIM_QUEUE_TELL,   // what the application's data queues call
	VICTIM_QUEUE_LISTEN, // asynchronous: completed whenever answers wait for an application
	VICTIM_QUEUE_BURST,  // in: how many numbers to put into the answers; out: how many fit
	VICTIM_QUEUE_COUNT,  // out: calls of VICTIM_QUEUE_TELL, completions of VICTIM_QUEUE_LISTEN
	VICTIM_FORGET, // out of VICTIM_KEEP: tells when what was kept is aborted; and makes an
		       // action to the client itself that nobody cancels
	VICTIM_ASKED,    // out: how often the service was asked for a user client
	VICTIM_ENTITLED, // out: a structure: CopyClientEntitlements as "KEY=VALUE\n", at Start
	VICTIM_SERVED, // in: how many microseconds it takes; out: how many such calls came before,
		       // of all clients, which the word VICTIM_SERVED_WORD counts
	VICTIM_RESULT, // any structure; in: a length, and enum victim_result; out: the length, and
		       // a structure of that length for a caller that takes any, of
		       // VICTIM_RESULT_BYTE
	VICTIM_RESULT_AGAIN, // the same, but idempotent
	VICTIM_METHODS,
};

#define VICTIM_HANGS "VictimHangs" // its name from when it hangs in Start

enum { VICTIM_SERVED_WORD = 1 }; // of 32 bits, of the shared memory

enum victim_result {
	VICTIM_RESULT_NOW,
	VICTIM_RESULT_LATE,   // as VICTIM_WAIT before
	VICTIM_RESULT_MEMORY, // breaks the rules: a descriptor instead of data
};
#define VICTIM_RESULT_BYTE(i) ((uint8_t)((i)*7 + (i) / 256))

enum { VICTIM_QUEUE_CAPACITY = 4096 };

enum { VICTIM_EXACT_SIZE = 10000 };

enum { VICTIM_SHARED_SIZE = 64 * 1024 };
enum {
	VICTIM_TYPE_SHARED = 0,
	VICTIM_TYPE_REFUSED = 1,
	VICTIM_TYPE_READ_ONLY = 2,
	VICTIM_TYPE_PART = 3,
	VICTIM_TYPE_ORDERS = 4,  // a data queue: whatever is put in …
	VICTIM_TYPE_ANSWERS = 5, // … comes out of this one
};
