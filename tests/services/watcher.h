/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the test asks Herald and Watcher to do. Each takes one number and gives one. */

enum {
	HERALD_ADD,        // -> the number of a new page
	HERALD_REMOVE,     // terminates the oldest page
	HERALD_FLOOD,      // times: a page comes and goes
	HERALD_LEVEL,      // n: its item Level, whose schema has a number Value, is set to that
	HERALD_LEVELS,     // times: to 1, 2, …
	HERALD_PROPERTIES, // times: sets a property
	HERALD_BUSY,       // 1: becomes busy once more; 0: once less
	HERALD_STATES,     // -> the line of the first check of items that failed; 0: none
};

/* What is watched: the class of the services. */
enum { WATCH_PAGE, WATCH_SPOT, WATCH_RECLUSE, WATCH_TWIN, WATCH_HERALD, WATCH_SELF, WATCH_CLASSES };

enum {
	WATCHER_WATCH,   // class
	WATCHER_CANCEL,  // -> 1 once the handler of Cancel has run; at once if nothing is watched
	WATCHER_ENABLE,  // 0 or 1
	WATCHER_HANDLE,  // 1: set the handler; 0: none
	WATCHER_DELIVER, // by hand
	WATCHER_CHECK,   // CheckForWork(true)
	WATCHER_READY,   // -> how often the handler was called
	WATCHER_MATCHED, // -> how many were told of
	WATCHER_TERMINATED, // -> how many of those have ended, as the same object
	WATCHER_WRONG,      // -> how many tellings were wrong
	WATCHER_READ,       // n -> what the n-th that is there says that its number is
	WATCHER_READ_ENDED, // the last that has ended: its status
	WATCHER_NAME,       // n -> 1: the registry answers for the n-th that is there
	WATCHER_ADD,        // a spot comes
	WATCHER_REMOVE,     // the oldest spot goes
	WATCHER_REFUSALS,   // -> the line of the first check that failed; 0: none
	WATCHER_MANY,       // -> how many more sources can be made, and cancels them all
	/* The state: of the first that is there (0), or of itself (1). */
	WATCHER_WAIT,        // which: is created, with its handler
	WATCHER_BEGIN,       // StateNotificationBegin
	WATCHER_AGAIN,       // 1: the handler calls that too
	WATCHER_CHANGED,     // -> how often the handler was called
	WATCHER_LEVEL,       // -> the Value of the item Level
	WATCHER_SET_LEVEL,   // n: its own
	WATCHER_WAIT_ENABLE, // 0 or 1
	WATCHER_WAIT_END,    // -> 1 once the handler of Cancel has run
	WATCHER_WAIT_MANY,   // -> how many more can be made
	WATCHER_WAIT_WRONG,  // -> the line of the first check that failed; 0: none
	WATCHER_METHODS,
};

#define LEVEL_ITEM  "Level"
#define LEVEL_VALUE "Value"
