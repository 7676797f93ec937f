// SPDX-License-Identifier: Apache-2.0
/*
 * Who may do what: root, dextd's own user, one who is listed, and a stranger; what a rule's
 * conditions mean; and which property lists are no policy.
 */

#include <base/unit_test.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/reason.h>
#include <dextd/client/client.h>
#include <dextd/client/identity.h>
#include <dextd/client/policy.h>
#include <dextd/client/rules.h>
#include <dextd/match/bundle.h>
#include <dextd/match/entitlements.h>
#include <dextd/match/plist.h>
#include <dextd/properties.h>

enum { LISTED = 70001, STRANGER = 70002, GROUP = 70003 };

#define PLIST(content)     "<plist version=\"1.0\"><dict>" content "</dict></plist>"
#define RULES(rules)       PLIST("<key>Rules</key><array>" rules "</array>")
#define RULE(name, rest)   "<dict><key>Name</key><string>" name "</string>" rest "</dict>"
#define ALLOW              "<key>Effect</key><string>allow</string>"
#define DENY               "<key>Effect</key><string>deny</string>"
#define A(key, elements)   "<key>" key "</key><array>" elements "</array>"
#define S(text)            "<string>" text "</string>"
#define N(number)          "<integer>" number "</integer>"
#define GIVES(entitlement) "<key>Entitlements</key><dict>" entitlement "</dict>"

static char path[] = "/b.dext", name[] = "P", identifier[] = "org.test.b";
static struct bundle bundle = { .path = path, .identifier = identifier };
static struct personality personality = { .bundle = &bundle, .name = name };
static struct rules *rules;

static void begin(const char *policy, const char *keys)
{
	ck_assert_int_eq(plist_read(keys, strlen(keys), &personality.keys), 0);
	rules = rules_new("/p");
	ck_assert_ptr_nonnull(rules);
	ck_assert_msg(rules_add(rules, "/p", policy, strlen(policy)) == 0, "%s", reason_last());
}

static void end(void)
{
	rules = rules_free(rules);
	OSSafeReleaseNULL(personality.keys);
}

static IOReturn may_open(const struct client *client, uint32_t type, OSDictionary **entitlements)
{
	const struct policy_request request = {
		.rules = rules,
		.client = client,
		.personality = &personality,
		.class_name = "Driver",
		.type = type,
	};
	OSDictionary *held = NULL;
	IOReturn ret = policy_may_open(&request, &held);
	ck_assert((ret == kIOReturnSuccess) == (held != NULL));
	if (entitlements != NULL)
		*entitlements = held;
	else
		OSObjectRelease(held);
	return ret;
}

static void assert_kept_out(const struct client *client, const char *part)
{
	ck_assert_int_eq(may_open(client, 0, NULL), kIOReturnNotPermitted);
	ck_assert_msg(strstr(reason_last(), part) != NULL, "not \"%s\": %s", part, reason_last());
}

static const struct client root = { .uid = 0, .pidfd = -1 };
static const struct client listed = { .uid = LISTED, .pidfd = -1 };
static const struct client stranger = { .uid = STRANGER, .gid = STRANGER, .pidfd = -1 };

/* --- without rules --- */

START_TEST(owner_may_and_stranger_may_not)
{
	const struct client own = { .uid = geteuid(), .pidfd = -1 };
	begin(RULES(""), PLIST(A("OpenDextAllowedUsers", N("70001"))));
	ck_assert_int_eq(may_open(&root, 0, NULL), kIOReturnSuccess);
	ck_assert_int_eq(may_open(&own, 0, NULL), kIOReturnSuccess);
	ck_assert_int_eq(may_open(&listed, 0, NULL), kIOReturnSuccess);
	assert_kept_out(&stranger, "add the user to OpenDextAllowedUsers of P");
	assert_kept_out(&stranger, "or a rule that allows it to the policy /p");
	rules = rules_free(rules);
	assert_kept_out(&stranger, "policy /etc/opendext/policy.d");

	ck_assert_int_eq(policy_may_call(&stranger, POLICY_ANYONE, "look"), kIOReturnSuccess);
	ck_assert_int_eq(policy_may_call(&root, POLICY_OWNER, "kill"), kIOReturnSuccess);
	ck_assert_int_eq(policy_may_call(&own, POLICY_OWNER, "kill"), kIOReturnSuccess);
	ck_assert_int_eq(policy_may_call(&listed, POLICY_OWNER, "kill"), kIOReturnNotPermitted);
	ck_assert_ptr_nonnull(strstr(reason_last(), "kill is for root"));
	end();
}
END_TEST

/* What has a name and no list is for dextd's user alone. */
START_TEST(no_list_is_nobody)
{
	begin(RULES(""), PLIST(""));
	ck_assert_int_eq(may_open(&stranger, 0, NULL), kIOReturnNotPermitted);
	end();
}
END_TEST

START_TEST(a_bundle_may_be_open_to_any)
{
	begin(PLIST(A("OpenToAny", S("org.test.other"))), PLIST(""));
	ck_assert_int_eq(may_open(&stranger, 0, NULL), kIOReturnNotPermitted);
	end();
	begin(PLIST(A("OpenToAny", S("org.test.b"))), PLIST(""));
	ck_assert_int_eq(may_open(&stranger, 0, NULL), kIOReturnSuccess);
	end();
}
END_TEST

/* --- rules --- */

static const struct {
	const char *conditions;
	bool holds; // for the stranger
} rows[] = {
	{ "", true },
	{ A("Users", N("70001") N("70002")), true },
	{ A("Users", N("70001")), false },
	{ A("Users", S("root")), false },
	{ A("Groups", N("70002")), true },
	{ A("Groups", N("70003")), true }, // one of many
	{ A("Groups", N("70004")), false },
	{ A("Bundles", S("org.test.a") S("org.test.b")), true },
	{ A("Bundles", S("org.test")), false },
	{ A("Classes", S("Driver")), true },
	{ A("Classes", S("driver")), false },
	{ A("UserClientTypes", N("7")), true },
	{ A("UserClientTypes", N("8")), false },
	{ A("Users", N("70002")) A("Classes", S("Other")), false }, // all must hold
	{ A("Users", N("70001")) A("Classes", S("Driver")), false },
	{ A("Executables", S("/bin/sh")), false }, // which nobody can tell
	{ A("Units", S("a.service")), false },
};

START_TEST(every_condition_must_hold)
{
	gid_t groups[] = { 5, GROUP };
	const struct client client = {
		.uid = STRANGER, .gid = STRANGER, .groups = groups, .n_groups = 2, .pidfd = -1
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[1024];
		snprintf(text, sizeof(text), RULES(RULE("r", ALLOW "%s")), rows[i].conditions);
		begin(text, PLIST(""));
		ck_assert_msg((may_open(&client, 7, NULL) == kIOReturnSuccess) == rows[i].holds,
			      "%s", rows[i].conditions);
		end();
	}
}
END_TEST

START_TEST(the_first_effect_decides)
{
	begin(RULES(RULE("gives", GIVES("<key>k</key><true/>"))
			    RULE("first", DENY A("Users", N("70002"))) RULE("second", ALLOW)),
	      PLIST(""));
	assert_kept_out(&stranger, "rule first of /p denies it to uid 70002:");
	ck_assert_int_eq(may_open(&listed, 0, NULL), kIOReturnSuccess);
	end();
	begin(RULES(RULE("second", ALLOW) RULE("first", DENY)), PLIST(""));
	ck_assert_int_eq(may_open(&stranger, 0, NULL), kIOReturnSuccess);
	end();
	begin(RULES(RULE("all", DENY)), PLIST(A("OpenDextAllowedUsers", N("70001"))));
	assert_kept_out(&root, "rule all of /p");
	assert_kept_out(&listed, "rule all of /p");
	end();
}
END_TEST

/* A client of which nothing can be told is not let in by that. */
START_TEST(what_cannot_be_told_denies)
{
	begin(RULES(RULE("r", DENY A("Executables", S("/bin/sh")))), PLIST(""));
	assert_kept_out(&root, "whose unit or executable cannot be told");
	end();
	begin(RULES(RULE("r", DENY A("Units", S("a.service")))), PLIST(""));
	assert_kept_out(&root, "whose unit or executable cannot be told");
	end();
	begin(RULES(RULE("r", A("Units", S("a.service")) GIVES("<key>k</key><true/>"))),
	      PLIST("<key>IOServiceDEXTEntitlements</key><string>k</string>"));
	assert_kept_out(&root, "does not hold: k:");
	end();
}
END_TEST

/* --- entitlements --- */

START_TEST(a_client_holds_what_the_rules_give)
{
	OSDictionary *held = NULL;
	begin(RULES(RULE("a", GIVES("<key>k</key><integer>1</integer>" A("l", S("x")))) RULE(
		      "b", GIVES("<key>k</key><integer>2</integer>" A("l", S("x") S("y"))))
			    RULE("c", A("Users", N("70001")) GIVES("<key>m</key><true/>"))
				    RULE("d", ALLOW)),
	      PLIST(""));
	uint64_t k = 0;
	ck_assert_int_eq(may_open(&stranger, 0, &held), kIOReturnSuccess);
	ck_assert(properties_number(held, "k", &k) && k == 1);
	ck_assert_uint_eq(OSArray_getCount(properties_array(held, "l")), 2);
	ck_assert_ptr_null(OSDictionary_getObject(held, "m"));
	ck_assert_ptr_null(OSDictionary_getObject(held, ENTITLEMENT_ADMIN));
	ck_assert_str_eq(properties_string(held, ENTITLEMENT_CREATOR), "pid 0, ");
	ck_assert_uint_eq(OSDictionary_getCount(held), 3);
	OSObjectRelease(held);
	ck_assert_int_eq(may_open(&root, 0, &held), kIOReturnSuccess);
	ck_assert(properties_boolean(held, ENTITLEMENT_ADMIN));
	OSObjectRelease(held);
	end();
}
END_TEST

START_TEST(access_to_a_bundle_is_an_entitlement)
{
	begin(RULES(RULE("a", GIVES(A(ENTITLEMENT_ACCESS, S("org.test.b"))))), PLIST(""));
	ck_assert_int_eq(may_open(&stranger, 0, NULL), kIOReturnSuccess);
	end();
	begin(RULES(RULE("a", GIVES(A(ENTITLEMENT_ACCESS, S("org.test.c"))))), PLIST(""));
	assert_kept_out(&stranger, "uid 70002 may not open it");
	end();
}
END_TEST

#define DEMAND(value) PLIST("<key>IOServiceDEXTEntitlements</key>" value)

START_TEST(a_demand_is_for_everybody)
{
	static const struct {
		const char *keys, *kept_out; // NULL: met
	} demands[] = {
		{ DEMAND(S("k")), NULL },
		{ DEMAND(S("no")), "does not hold: no:" },
		{ DEMAND(S("false")), "does not hold: false:" },
		{ DEMAND("<array>" S("no") S("k") "</array>"), NULL },
		{ DEMAND("<array><array>" S("k") S("l") "</array></array>"), NULL },
		{ DEMAND("<array>" S("no") "<array>" S("k") S("no") "</array></array>"),
		  "does not hold: no, or k and no:" },
		{ DEMAND(S("com.apple.developer.driverkit.administrator")), NULL },
		{ PLIST("<key>UserClientProperties</key><dict>"
			"<key>IOServiceDEXTEntitlements</key>" S("no") "</dict>"),
		  "does not hold: no:" },
	};
	for (size_t i = 0; i < sizeof(demands) / sizeof(demands[0]); i++) {
		begin(RULES(RULE("a",
				 GIVES("<key>k</key><true/><key>l</key>" S("x") "<key>false"
										"</key><false/>"))),
		      demands[i].keys);
		if (demands[i].kept_out != NULL)
			assert_kept_out(&root, demands[i].kept_out);
		else
			ck_assert_msg(may_open(&root, 0, NULL) == kIOReturnSuccess, "%zu: %s", i,
				      reason_last());
		end();
	}
}
END_TEST

/* --- what is no policy --- */

static const struct {
	const char *text, *reason;
} wrong[] = {
	{ "", "the policy /p: not a usable property list" },
	{ "<plist><array/></plist>", "its top is not a dictionary" },
	{ PLIST("<key>Rule</key><array/>"), "it has a key Rule: Rules and OpenToAny" },
	{ PLIST("<key>Rules</key><dict/>"), "Rules must be an array" },
	{ PLIST("<key>OpenToAny</key><true/>"), "OpenToAny must be an array" },
	{ PLIST(A("OpenToAny", N("1"))), "element 0 of OpenToAny" },
	{ RULES(S("x")), "a rule must be a dictionary" },
	{ RULES("<dict>" DENY "</dict>"), "a rule needs a Name" },
	{ RULES(RULE("", DENY)), "a rule needs a Name" },
	{ RULES("<dict><key>Name</key><integer>1</integer></dict>"), "a rule needs a Name" },
	{ RULES(RULE("r", DENY) RULE("r", DENY)), "rule r: there are two of that Name" },
	{ RULES(RULE("r", "")), "neither Effect nor Entitlements" },
	{ RULES(RULE("r", "<key>Effect</key>" S("Deny"))), "Effect must be allow or deny" },
	{ RULES(RULE("r", "<key>Effect</key><true/>")), "Effect must be allow or deny" },
	{ RULES(RULE("r", DENY "<key>User</key>" S("root"))), "no rule has a key User" },
	{ RULES(RULE("r", DENY "<key>Users</key>" S("root"))), "Users must be an array" },
	{ RULES(RULE("r", DENY A("Users", ""))), "Users must be an array with an element" },
	{ RULES(RULE("r", DENY A("Users", "<true/>"))), "element 0 of Users: a text" },
	{ RULES(RULE("r", DENY A("Users", N("4294967296")))), "element 0 of Users: a number of" },
	{ RULES(RULE("r", DENY A("Users", N("-1")))), "element 0 of Users: a number of" },
	{ RULES(RULE("r", DENY A("Users", S("no such user")))), "there is no user no such user" },
	{ RULES(RULE("r", DENY A("Groups", S("no such group")))), "there is no group" },
	{ RULES(RULE("r", DENY A("Units", S("a")))), "element 0 of Units: the name of a" },
	{ RULES(RULE("r", DENY A("Units", S("x/a.service")))), "element 0 of Units" },
	{ RULES(RULE("r", DENY A("Executables", S("sh")))), "an absolute path is expected" },
	{ RULES(RULE("r", DENY A("Bundles", S("a") N("1")))), "element 1 of Bundles: a text" },
	{ RULES(RULE("r", DENY A("UserClientTypes", S("1")))), "element 0 of UserClientTypes" },
	{ RULES(RULE("r", "<key>Entitlements</key>" S("x"))), "Entitlements must be a dictionary" },
	{ RULES(RULE("r", GIVES(""))), "Entitlements must be a dictionary with an entry" },
	{ RULES(RULE("r", GIVES("<key>k</key><dict/>"))), "the entitlement k must be" },
	{ RULES(RULE("r", GIVES(A("k", N("1"))))), "the entitlement k must be" },
	{ RULES(RULE("r", GIVES("<key>" ENTITLEMENT_ADMIN "</key><true/>"))), "dextd's to give" },
	{ RULES(RULE("r", GIVES("<key>IOUserClientCreator</key>" S("x")))), "dextd's to give" },
	{ RULES(RULE("r", GIVES("<key>" ENTITLEMENT_ANY_CLIENT "</key><true/>"))), "OpenToAny" },
	{ RULES(RULE("r", GIVES("<key>" ENTITLEMENT_ACCESS "</key><true/>"))), "bundle ident" },
};

START_TEST(a_mistake_refuses_the_whole)
{
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct rules *none = rules_new("/p");
		reason_clear();
		ck_assert_msg(rules_add(none, "/p", wrong[i].text, strlen(wrong[i].text)) ==
				      -EINVAL,
			      "%s", wrong[i].text);
		ck_assert_msg(strstr(reason_last(), wrong[i].reason) != NULL,
			      "\"%s\" instead of \"%s\"", reason_last(), wrong[i].reason);
		rules_free(none);
	}
}
END_TEST

/* --- files --- */

static char folder[64];

static void put(const char *file, const char *text, mode_t mode)
{
	char full[128];
	snprintf(full, sizeof(full), "%s/%s", folder, file);
	int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

static void assert_refused(const char *policy, const char *part)
{
	struct rules *none = NULL;
	ck_assert_int_eq(rules_read(&none, policy), -EINVAL);
	ck_assert_ptr_null(none);
	ck_assert_msg(strstr(reason_last(), part) != NULL, "%s", reason_last());
}

START_TEST(files_are_read_in_order_and_must_be_ones_own)
{
	char full[128];
	struct rules *read = NULL;
	strcpy(folder, "/tmp/dext-rules.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	put("20.plist", RULES(RULE("second", DENY)), 0644);
	put("10.plist", RULES(RULE("first", DENY)), 0600);
	put("note.txt", "no policy", 0666);
	put(".hidden.plist", "no policy", 0666);
	ck_assert_msg(rules_read(&read, folder) == 0, "%s", reason_last());
	ck_assert_uint_eq(read->n, 2);
	ck_assert_str_eq(container_of(read->all.next, struct rule, link)->name, "first");
	rules_free(read);

	put("20.plist", RULES(""), 0664);
	assert_refused(folder, "20.plist: others may write it: chmod go-w it");
	put("20.plist", RULES(""), 0646);
	assert_refused(folder, "others may write it");
	put("20.plist", RULES(""), 0644);
	snprintf(full, sizeof(full), "%s/20.plist", folder);
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(full, STRANGER, 0), 0);
		assert_refused(folder,
			       "it belongs to user 70002: it must belong to root or user 0");
		assert_refused(full, "it belongs to user 70002");
	}
	ck_assert_int_eq(unlink(full), 0);
	ck_assert_int_eq(symlink("10.plist", full), 0);
	assert_refused(folder, "20.plist: it cannot be opened");
	ck_assert_int_eq(unlink(full), 0);
	ck_assert_int_eq(mkfifo(full, 0600), 0);
	assert_refused(folder, "20.plist: it is no regular file");
	ck_assert_int_eq(unlink(full), 0);
	ck_assert_int_eq(chmod(folder, 0777), 0);
	assert_refused(folder, "others may write it");
	assert_refused("/nonexistent/policy", "/nonexistent/policy: it cannot be opened");
	snprintf(full, sizeof(full), "rm -r %s", folder);
	ck_assert_int_eq(system(full), 0);
}
END_TEST

/* --- who it is --- */

START_TEST(a_unit_is_the_systems)
{
	static const struct {
		const char *cgroup, *unit;
	} cgroups[] = {
		{ "/system.slice/reader.service", "reader.service" },
		{ "/system.slice/system-getty.slice/getty@tty1.service/x", "getty@tty1.service" },
		{ "/user.slice/user-7.slice/user@7.service/app.slice/reader.service",
		  "user@7.service" },
		{ "/user.slice/user-7.slice/session-2.scope", "session-2.scope" },
		{ "/system.slice/_cpu.service", "cpu.service" },
		{ "/init.scope", "init.scope" },
		{ "/", "" },
		{ "", "" },
		{ "/../system.slice/reader.service", "" },
		{ "/lxc/reader.service", "" },
		{ "/system.slice", "" },
		{ "/system.slice/.service", "" },
	};
	for (size_t i = 0; i < sizeof(cgroups) / sizeof(cgroups[0]); i++) {
		char unit[IDENTITY_UNIT_MAX] = "before";
		identity_unit_of(cgroups[i].cgroup, unit);
		ck_assert_str_eq(unit, cgroups[i].unit);
	}
}
END_TEST

START_TEST(a_process_is_known_until_it_ends)
{
	int ends[2];
	struct identity identity;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	int pidfd = identity_pidfd(ends[0], getpid(), geteuid());
	ck_assert_int_ge(pidfd, 0);
	ck_assert_int_ne(fcntl(pidfd, F_GETFD) & FD_CLOEXEC, 0);
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	ck_assert_int_gt(n, 0);
	self[n] = '\0';
	identity_read(&identity, pidfd, getpid());
	struct stat st;
	ck_assert_int_eq(stat(self, &st), 0);
	ck_assert_str_eq(identity.executable, (st.st_mode & 022) == 0 ? self : "");
	/* A number that is another process's by now. */
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	int childfd = (int)syscall(SYS_pidfd_open, child, 0);
	ck_assert_int_ge(childfd, 0);
	siginfo_t info;
	ck_assert_int_eq(waitid(P_PID, (id_t)child, &info, WEXITED), 0);
	identity_read(&identity, childfd, getpid());
	ck_assert_str_eq(identity.executable, "");
	ck_assert(!identity.unit_known);
	identity_read(&identity, -1, getpid());
	ck_assert_str_eq(identity.executable, "");
	ck_assert_int_eq(identity_pidfd(ends[0], 0, 0), -1);
	close(childfd);
	close(pidfd);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

UNIT_TESTS("dextd-policy", owner_may_and_stranger_may_not, no_list_is_nobody,
	   a_bundle_may_be_open_to_any, every_condition_must_hold, the_first_effect_decides,
	   what_cannot_be_told_denies, a_client_holds_what_the_rules_give,
	   access_to_a_bundle_is_an_entitlement, a_demand_is_for_everybody,
	   a_mistake_refuses_the_whole, files_are_read_in_order_and_must_be_ones_own,
	   a_unit_is_the_systems, a_process_is_known_until_it_ends)
