// SPDX-License-Identifier: Apache-2.0
/*
 * Bundles, good and bad. Each row makes one bundle beside a good one in a folder of its own: the
 * bad one is refused with its reason, the good one loads.
 */

#include <base/unit_test.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dextd/match/bundle.h>
#include <dextd/match/plist.h>
#include <dextd/properties.h>

#define HEAD                                                                               \
	"<?xml version=\"1.0\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" " \
	"\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\"><dict>"
#define TAIL          "</dict></plist>\n"
#define S(key, value) "<key>" key "</key><string>" value "</string>"
#define N(key, value) "<key>" key "</key><integer>" value "</integer>"
#define NAMES         S("CFBundleIdentifier", "org.test.bad") S("CFBundleExecutable", "driver")
#define CLASSES       S("IOProviderClass", "IOUserResources") S("IOUserClass", "Driver")
#define PERSONALITY(keys) \
	"<key>IOKitPersonalities</key><dict><key>P</key><dict>" keys "</dict></dict>"
#define WITH(keys) HEAD NAMES PERSONALITY(CLASSES keys) TAIL

static char folder[64];

static void path_of(char *path, const char *bundle, const char *file)
{
	int n = snprintf(path, 256, "%s/%s%s%s", folder, bundle, file[0] != '\0' ? "/" : "", file);
	ck_assert(n > 0 && n < 256);
}

static void write_bytes(const char *bundle, const char *file, const void *data, size_t size,
			mode_t mode)
{
	char path[256];
	path_of(path, bundle, file);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

static void make(const char *bundle, const char *info)
{
	char path[256];
	path_of(path, bundle, "");
	ck_assert_int_eq(mkdir(path, 0755), 0);
	write_bytes(bundle, "Info.plist", info, strlen(info), 0644);
	write_bytes(bundle, "driver", "#!", 2, 0755);
}

static const char good[] = HEAD S("CFBundleIdentifier", "org.test.good")
	S("CFBundleExecutable", "driver") PERSONALITY(CLASSES) TAIL;

static void set_up(void)
{
	strcpy(folder, "/tmp/dext-bundle.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	make("a-good.dext", good);
}

static void tear_down(void)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

/* Scan; the good one must load; the other's reason, NULL when it loaded. */
static void check_scan(const char *reason)
{
	struct list bundles;
	list_init(&bundles);
	ck_assert_int_eq(bundle_scan(&bundles, folder), 0);
	struct bundle *first = container_of(bundles.next, struct bundle, link);
	ck_assert_str_eq(first->identifier, "org.test.good");
	ck_assert_msg(!first->refused, "%s", first->reason);
	struct bundle *second = container_of(first->link.next, struct bundle, link);
	ck_assert_ptr_ne(&second->link, &bundles);
	if (reason == NULL) {
		ck_assert_msg(!second->refused, "%s", second->reason);
	} else {
		ck_assert_msg(second->refused, "it loaded instead of: %s", reason);
		ck_assert_msg(strstr(second->reason, reason) != NULL, "\"%s\" instead of \"%s\"",
			      second->reason, reason);
		ck_assert(list_empty(&second->personalities));
	}
	bundle_list_free(&bundles);
}

static const struct row {
	const char *info, *reason;
} rows[] = {
	{ WITH(""), NULL },
	{ WITH(N("IOProbeScore", "-5")), NULL },
	{ WITH("<key>own</key><data>AAEC</data>"), NULL },
	{ "this is not a property list", "neither XML nor binary" },
	{ "", "neither XML nor binary" },
	{ "<plist><dict><key>a</key>", "neither XML nor binary" },
	{ "<plist version=\"1.0\"><array/></plist>", "not a dictionary" },
	{ HEAD S("CFBundleExecutable", "driver") PERSONALITY(CLASSES) TAIL, "CFBundleIdentifier" },
	{ HEAD N("CFBundleIdentifier", "3") S("CFBundleExecutable", "driver") PERSONALITY(CLASSES)
		  TAIL,
	  "CFBundleIdentifier" },
	{ HEAD S("CFBundleIdentifier", "org.test.good") S("CFBundleExecutable", "driver")
		  PERSONALITY(CLASSES) TAIL,
	  "came first" },
	{ HEAD S("CFBundleIdentifier", "org.test.bad") PERSONALITY(CLASSES) TAIL,
	  "CFBundleExecutable is missing" },
	{ HEAD S("CFBundleIdentifier", "org.test.bad") S("CFBundleExecutable", "absent")
		  PERSONALITY(CLASSES) TAIL,
	  "absent cannot be opened" },
	{ HEAD S("CFBundleIdentifier", "org.test.bad")
		  S("CFBundleExecutable", "../a-good.dext/driver") PERSONALITY(CLASSES) TAIL,
	  "must be the name of a file" },
	{ HEAD S("CFBundleIdentifier", "org.test.bad") S("CFBundleExecutable", "..")
		  PERSONALITY(CLASSES) TAIL,
	  "must be the name of a file" },
	{ HEAD NAMES TAIL, "IOKitPersonalities is missing" },
	{ HEAD NAMES S("IOKitPersonalities", "x") TAIL, "must be a dictionary" },
	{ HEAD NAMES "<key>IOKitPersonalities</key><dict/>" TAIL, "0 entries" },
	{ HEAD NAMES "<key>IOKitPersonalities</key><dict>" S("P", "x") "</dict>" TAIL,
	  "must be a dictionary" },
	{ HEAD NAMES PERSONALITY(S("IOUserClass", "Driver")) TAIL, "IOProviderClass is missing" },
	{ HEAD NAMES PERSONALITY(S("IOProviderClass", "IOUserResources")) TAIL,
	  "IOUserClass is missing" },
	{ HEAD NAMES PERSONALITY(S("IOProviderClass", "IOUserResources") N("IOUserClass", "3"))
		  TAIL,
	  "IOUserClass must be a string" },
	{ HEAD NAMES PERSONALITY(S("IOProviderClass", "IOUserResources") S("IOUserClass", "")) TAIL,
	  "1 to 127" },
	{ WITH(S("IOProbeScore", "high")), "IOProbeScore must be an integer" },
	{ WITH(N("IOProbeScore", "4294967296")), "does not fit 32 bits" },
	{ WITH(N("IOProbeScore", "99999999999999999999999")), "does not fit 64 bits" },
	{ WITH(N("IOProbeScore", "many")), "not a number" },
	{ WITH(N("IOMatchCategory", "1")), "IOMatchCategory must be a string" },
	{ WITH(S("idVendor", "0x1d6b")), "idVendor must be an integer" },
	{ WITH(N("IOPropertyMatch", "1")), "IOPropertyMatch must be a dictionary or" },
	{ WITH("<key>IOPropertyMatch</key><array><string>x</string></array>"), "element 0" },
	{ WITH("<key>IONameMatch</key><array><integer>1</integer></array>"), "element 0" },
	{ WITH("<key>idProductArray</key><array><string>1</string></array>"), "element 0" },
	{ WITH(S("IOUserServerOneProcess", "yes")), "must be a boolean" },
	{ WITH(S("OpenDextPublish", "yes")), "OpenDextPublish must be a boolean" },
	{ WITH("<key>OpenDextClientMappedBARs</key><array><integer>6</integer></array>"),
	  "BARs 0 to 5" },
	{ WITH("<key>OpenDextAllowedUsers</key><array><true/></array>"), "element 0" },
	{ WITH(S("IOServiceDEXTEntitlements", "k")), NULL },
	{ WITH("<key>IOServiceDEXTEntitlements</key><array><string>k</string><array>"
	       "<string>l</string></array></array>"),
	  NULL },
	{ WITH(S("IOServiceDEXTEntitlements", "")), "must be an entitlement, or an array of" },
	{ WITH("<key>IOServiceDEXTEntitlements</key><array/>"), "must be an entitlement" },
	{ WITH("<key>IOServiceDEXTEntitlements</key><array><array/></array>"), "an entitlement" },
	{ WITH("<key>IOServiceDEXTEntitlements</key><array><true/></array>"), "an entitlement" },
	{ WITH("<key>UserClientProperties</key><dict>" N("IOServiceDEXTEntitlements",
							 "1") "</dict>"),
	  "must be an entitlement" },
	{ WITH("<key>Mine</key><dict>" S("IOServiceDEXTEntitlements", "k") "</dict>"),
	  "IOServiceDEXTEntitlements of Mine would not be looked at" },
	{ WITH("<key>own</key><real>1.5</real>"), "a date, a real number" },
	{ WITH("<key>own</key><date>2020-01-01T00:00:00Z</date>"), "a date, a real number" },
	{ WITH(S("own", "\xff\xfe")), "not UTF-8" },
	{ "<?xml version=\"1.0\"?><!DOCTYPE plist [<!ENTITY a \"b\">]><plist version=\"1.0\"><dict>" NAMES
		  PERSONALITY(CLASSES S("own", "&a;")) TAIL,
	  "document type of its own" },
	{ "<?xml version=\"1.0\"?><!ENTITY a \"b\"><plist version=\"1.0\"><dict>" NAMES PERSONALITY(
		  CLASSES) TAIL,
	  "declares entities" },
	{ WITH(S("own", "&lol;")), "not a usable property list" },
};

static void check_row(size_t row_number)
{
	make("bad.dext", rows[row_number].info);
	check_scan(rows[row_number].reason);
}

START_TEST(test_row)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set_up();
		check_row(i);
		tear_down();
	}
}
END_TEST

START_TEST(test_duplicate_key)
{
	set_up();
	make("bad.dext", WITH(N("IOProbeScore", "1") N("IOProbeScore", "2")));
	struct list bundles;
	list_init(&bundles);
	ck_assert_int_eq(bundle_scan(&bundles, folder), 0);
	struct bundle *bundle = container_of(bundles.prev, struct bundle, link);
	struct personality *p = container_of(bundle->personalities.next, struct personality, link);
	uint64_t score = 0;
	ck_assert(properties_number(p->keys, "IOProbeScore", &score));
	ck_assert_uint_eq(score, 2); // the last one counts
	ck_assert_str_eq(personality_string(p, "CFBundleIdentifier", ""), "org.test.bad");
	bundle_list_free(&bundles);
	tear_down();
}
END_TEST

START_TEST(test_huge)
{
	set_up();
	static char text[PLIST_SIZE_MAX + 1];
	memset(text, ' ', sizeof(text));
	make("bad.dext", "");
	write_bytes("bad.dext", "Info.plist", text, sizeof(text), 0644);
	check_scan("larger than 1 MiB");
	tear_down();
}
END_TEST

static void nested(char *text, size_t room, unsigned depth)
{
	size_t n = (size_t)snprintf(text, room, "%s", HEAD NAMES);
	for (unsigned i = 0; i < depth; i++)
		n += (size_t)snprintf(text + n, room - n, "<key>k</key><dict>");
	for (unsigned i = 0; i < depth; i++)
		n += (size_t)snprintf(text + n, room - n, "</dict>");
	snprintf(text + n, room - n, "%s", PERSONALITY(CLASSES) TAIL);
}

START_TEST(test_deep)
{
	set_up();
	static char text[512 * 1024];
	nested(text, sizeof(text), 10000);
	make("bad.dext", text);
	check_scan("nested more than 32 deep");
	nested(text, sizeof(text), 31);
	write_bytes("bad.dext", "Info.plist", text, strlen(text), 0644);
	check_scan(NULL);
	tear_down();
}
END_TEST

/* What is too much for a collection is a mistake of the file, not of the memory. */
START_TEST(test_large_array)
{
	set_up();
	static char text[1024 * 1024];
	for (unsigned members = 65536; members <= 65537; members++) {
		size_t n = (size_t)snprintf(text, sizeof(text), "%s",
					    HEAD NAMES "<key>many</key><array>");
		for (unsigned i = 0; i < members; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "<true/>");
		snprintf(text + n, sizeof(text) - n, "</array>%s", PERSONALITY(CLASSES) TAIL);
		if (members == 65536)
			make("bad.dext", text);
		else
			write_bytes("bad.dext", "Info.plist", text, strlen(text), 0644);
		check_scan(members == 65536 ? NULL
					    : "a collection of 65537 members: at most 65536");
	}
	tear_down();
}
END_TEST

START_TEST(test_personalities)
{
	set_up();
	static char text[512 * 1024];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s",
				    HEAD NAMES "<key>IOKitPersonalities</key><dict>");
	for (unsigned i = 0; i < 1001; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      "<key>P%u</key><dict>" CLASSES "</dict>", i);
	snprintf(text + n, sizeof(text) - n, "</dict>" TAIL);
	make("bad.dext", text);
	check_scan("1001 entries");
	tear_down();
}
END_TEST

/* One array of two references to the next, 40 times: a terabyte when it is unfolded. */
START_TEST(test_binary_unfolds)
{
	set_up();
	uint8_t data[8 + 40 * 3 + 2 + 41 + 32] = "bplist00";
	size_t at = 8, table = 8 + 40 * 3 + 2;
	for (unsigned i = 0; i < 40; i++) {
		data[table + i] = (uint8_t)at;
		data[at++] = 0xa2;
		data[at++] = (uint8_t)(i + 1);
		data[at++] = (uint8_t)(i + 1);
	}
	data[table + 40] = (uint8_t)at;
	data[at++] = 0x51;
	data[at++] = 'x';
	uint8_t *trailer = data + table + 41;
	trailer[6] = trailer[7] = 1;
	trailer[15] = 41;
	trailer[31] = (uint8_t)table;
	make("bad.dext", "");
	write_bytes("bad.dext", "Info.plist", data, sizeof(data), 0644);
	check_scan("not a usable property list");
	tear_down();
}
END_TEST

/* Every prefix and every single changed byte of a binary list is read or refused, not more. */
START_TEST(test_binary_damage)
{
	set_up();
	static const uint8_t whole[] = "bplist00\xd1\x01\x02\x51\x61\xa2\x03\x04\x10\x07\x08"
				       "\x08\x0b\x0d\x10\x12\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\x05"
				       "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x13";
	OSDictionary *d = NULL;
	ck_assert_msg(plist_read(whole, sizeof(whole) - 1, &d) == 0, "%s", reason_last());
	ck_assert_uint_eq(OSArray_getCount(properties_array(d, "a")), 2);
	OSObjectRelease(d);
	for (size_t size = 0; size < sizeof(whole) - 1; size++) {
		d = NULL;
		if (plist_read(whole, size, &d) == 0)
			OSObjectRelease(d);
	}
	for (size_t i = 0; i < (sizeof(whole) - 1) * 256; i++) {
		uint8_t damaged[sizeof(whole)];
		memcpy(damaged, whole, sizeof(whole));
		damaged[i / 256] = (uint8_t)i;
		d = NULL;
		if (plist_read(damaged, sizeof(whole) - 1, &d) == 0)
			OSObjectRelease(d);
	}
	tear_down();
}
END_TEST

START_TEST(test_links)
{
	set_up();
	char target[256], path[256];
	make("bad.dext", WITH(""));
	path_of(path, "bad.dext", "driver");
	ck_assert_int_eq(unlink(path), 0);
	path_of(target, "a-good.dext", "driver");
	ck_assert_int_eq(symlink(target, path), 0);
	check_scan("not a regular file in the bundle");

	path_of(path, "bad.dext", "Info.plist");
	ck_assert_int_eq(unlink(path), 0);
	path_of(target, "a-good.dext", "Info.plist");
	ck_assert_int_eq(symlink(target, path), 0);
	check_scan("Info.plist is a symbolic link");
	tear_down();
}
END_TEST

START_TEST(test_bundle_link)
{
	set_up();
	char target[256], path[256];
	path_of(target, "a-good.dext", "");
	path_of(path, "bad.dext", "");
	ck_assert_int_eq(symlink(target, path), 0);
	check_scan("symbolic link or no folder");
	tear_down();
}
END_TEST

START_TEST(test_executable)
{
	set_up();
	char path[256];
	make("bad.dext", WITH(""));
	path_of(path, "bad.dext", "driver");
	ck_assert_int_eq(chmod(path, 04755), 0);
	check_scan("setuid");
	ck_assert_int_eq(chmod(path, 0644), 0);
	check_scan("may not be executed");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	check_scan("not a regular file");
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(mkfifo(path, 0755), 0);
	check_scan("not a regular file");
	tear_down();
}
END_TEST

/* A bundle that is replaced later is noticed before it is executed. */
START_TEST(test_recheck)
{
	set_up();
	char path[256];
	struct list bundles;
	list_init(&bundles);
	ck_assert_int_eq(bundle_scan(&bundles, folder), 0);
	struct bundle *bundle = container_of(bundles.next, struct bundle, link);
	ck_assert_int_eq(bundle_check_executable(bundle), 0);
	path_of(path, "a-good.dext", "driver");
	ck_assert_int_eq(chmod(path, 04755), 0);
	ck_assert_int_eq(bundle_check_executable(bundle), -EINVAL);
	bundle_list_free(&bundles);
	tear_down();
}
END_TEST

START_TEST(test_folders)
{
	set_up();
	struct list bundles;
	list_init(&bundles);
	ck_assert_int_eq(bundle_scan(&bundles, "/nonexistent"), 0);
	ck_assert_int_eq(bundle_scan(&bundles, "/proc/self/status"), -ENOTDIR);
	ck_assert(list_empty(&bundles));
	tear_down();
}
END_TEST

START_TEST(test_allowed_users)
{
	set_up();
	make("bad.dext", WITH("<key>OpenDextAllowedUsers</key><array><integer>1234</integer>"
			      "<string>root</string><string>no such user</string></array>"));
	struct list bundles;
	list_init(&bundles);
	ck_assert_int_eq(bundle_scan(&bundles, folder), 0);
	struct bundle *bundle = container_of(bundles.prev, struct bundle, link);
	struct personality *p = container_of(bundle->personalities.next, struct personality, link);
	ck_assert(personality_allows(p, 1234));
	ck_assert(personality_allows(p, 0));
	ck_assert(!personality_allows(p, 1235));
	bundle_list_free(&bundles);
	tear_down();
}
END_TEST

UNIT_TESTS("dextd-bundle", test_row, test_duplicate_key, test_huge, test_deep, test_large_array,
	   test_personalities, test_binary_unfolds, test_binary_damage, test_links,
	   test_bundle_link, test_executable, test_recheck, test_folders, test_allowed_users)
