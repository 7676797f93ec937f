/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the test asks Ground to do. Each takes one number and gives one. */
enum {
	TOWER_NUBS,      // -> nubs that are not freed yet
	TOWER_TERMINATE, // the nub that Ground made
	TOWER_MANNER,    // enum tower_manner, from now on
	TOWER_SPEAK,     // a line in the log
	TOWER_JOIN,      // the nub that Ground made joins power management
	TOWER_WISH,      // Ground's ChangePowerState
	TOWER_NUB_WISH,  // the nub's
	TOWER_OVERRIDE,  // Ground's SetPowerOverride
	TOWER_STALL,     // Ground's RequireMaxBusStall
};

enum tower_manner {
	MANNER_GOOD,
	MANNER_STORY_HANGS, // its Stop does not call the super
	MANNER_NUB_HANGS,   // the twig's does not
	MANNER_STORY_DIES,  // in its Stop
	MANNER_NUB_DIES,    // the twig, in its Stop
	MANNER_STORY_KEEPS, // its SetPowerState does not call the super
};
