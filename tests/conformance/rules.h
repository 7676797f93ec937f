/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the application asks the Rules driver to do. Each takes no number and gives one; what the
 * rule says is the call's own status. */
enum rule {
	RULE_CREATE_FOR_ANOTHER,     // Create with the device as provider
	RULE_CREATE_WITHOUT_KEY,     // from a key that the personality has not
	RULE_CREATE_FROM_A_STRING,   // from a key that is no dictionary
	RULE_CREATE_WITHOUT_A_CLASS, // from a dictionary without IOUserClass
	RULE_CREATE_UNKNOWN,         // of a class that there is not
	RULE_CREATE_NO_SERVICE,      // of a class that is no IOService
	RULE_CREATE,                 // a child: kept; out: how often its Start ran
	RULE_CHILD_PROVIDER,         // out: 1: its provider is this service
	RULE_TERMINATE_OPTIONS,      // the child, with options
	RULE_TERMINATE_ITSELF,       // a service that was matched
	RULE_TERMINATE,              // the child; out: how often its Stop ran by then
	RULE_TERMINATE_AGAIN,        // a child that has been terminated
	RULE_STOPS,                  // out: Stops of children
	RULE_FORGET,                 // releases the child
	RULE_CHILDREN,               // out: children alive
	RULE_SET_PROPERTIES,         // a property of its own, and one of the personality
	RULE_COPY_PROPERTIES,        // out: 1: both are there, beside the rest of the personality
	RULE_SET_PROVIDER,           // SetProperties of the device
	RULE_SET_NAME,               //
	RULE_SET_LONG_NAME,          // one byte more than there is room for
	RULE_ENTRY_ID,               // out: its registry entry's id
	RULE_BORROWED,               // out: references that GetProvider and GetName leave behind
	RULE_RETURNED,               // out: references that a Copy of a queue leaves behind
	RULE_DEFAULT_QUEUE,          // out: 1: this runs on the queue named Default
	RULE_CLIENTS,                // out: user clients alive
	RULE_CLIENT_STOPS,           // out: Stops of user clients
	RULE_MEMORY,                 // out: references to what CopyClientMemoryForType gives
	RULE_EARLY_MEMORY, // CreateMemoryDescriptorFromClient as the user client's Start got it
	RULE_COMPLETE_17,  // asynchronous: completed with 17 numbers; out: what became of that
	RULES,
};

/* Types of user client. */
enum {
	RULES_TYPE_GOOD,
	RULES_TYPE_DEFAULT,   // what IOService does by itself
	RULES_TYPE_NO_CLIENT, // success with a service that is no user client
	RULES_TYPE_NOTHING,   // success with nothing
	RULES_TYPE_NO_START,  // a user client whose Start refuses with kIOReturnNoSpace
};

#define RULES_NAME "by another name"
