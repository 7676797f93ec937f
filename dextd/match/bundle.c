// SPDX-License-Identifier: Apache-2.0
/*
 * Everything is opened relative to a descriptor of the bundle's directory and without following a
 * last symbolic link, so a bundle cannot name anything outside itself. `key_types` holds what a
 * personality may contain: a key of the wrong type refuses the bundle, an unknown key is the
 * driver's own.
 */

#include <dextd/match/bundle.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <DriverKit/IOTypes.h>
#include <base/cleanup.h>
#include <dextd/match/entitlements.h>
#include <dextd/match/plist.h>
#include <dextd/properties.h>
#include <dextd/registry.h>

static int bad(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int bad(const char *format, ...)
{
	char text[REASON_MAX];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)refuse(kIOReturnBadArgument, "%s", text);
	return -EINVAL;
}

/* --- life --- */

static void personality_free(struct personality *p)
{
	list_remove(&p->link);
	OSObjectRelease(p->keys);
	free(p->name);
	free(p);
}

static void drop_personalities(struct bundle *bundle)
{
	struct personality *p, *tmp;
	list_for_each_safe(p, tmp, &bundle->personalities, link)
		personality_free(p);
}

struct bundle *bundle_ref(struct bundle *bundle)
{
	bundle->refs++;
	return bundle;
}

struct bundle *bundle_unref(struct bundle *bundle)
{
	if (bundle == NULL || --bundle->refs > 0)
		return NULL;
	drop_personalities(bundle);
	free(bundle->path);
	free(bundle->identifier);
	free(bundle->executable);
	free(bundle);
	return NULL;
}

void bundle_list_free(struct list *bundles)
{
	struct bundle *bundle, *tmp;
	list_for_each_safe(bundle, tmp, bundles, link) {
		list_remove(&bundle->link);
		bundle_unref(bundle);
	}
}

static struct bundle *bundle_new(const char *directory, const char *name)
{
	struct bundle *bundle = calloc(1, sizeof(*bundle));
	if (bundle == NULL)
		return NULL;
	bundle->refs = 1;
	list_init(&bundle->link);
	list_init(&bundle->personalities);
	if (asprintf(&bundle->path, "%s/%s", directory, name) < 0) {
		bundle->path = NULL;
		return bundle_unref(bundle);
	}
	return bundle;
}

/* --- the keys of a personality --- */

enum { IS_STRING = 1, IS_NUMBER = 2, IS_BOOLEAN = 4, IS_DICTIONARY = 8, IS_ARRAY = 16 };

static const struct {
	const char *key;
	unsigned types;
} key_types[] = {
	{ "CFBundleIdentifier", IS_STRING },
	{ "CFBundleIdentifierKernel", IS_STRING },
	{ "IOClass", IS_STRING },
	{ "IOLocationMatch", IS_STRING },
	{ "IOMatchCategory", IS_STRING },
	{ "IOMatchDefer", IS_BOOLEAN },
	{ "IOMatchedServiceCountMatch", IS_NUMBER },
	{ "IONameMatch", IS_STRING | IS_ARRAY },
	{ "IOPCIClassMatch", IS_STRING },
	{ "IOPCIMatch", IS_STRING },
	{ "IOPCIPrimaryMatch", IS_STRING },
	{ "IOPCISecondaryMatch", IS_STRING },
	{ "IOParentMatch", IS_DICTIONARY },
	{ "IOPathMatch", IS_STRING },
	{ "IOProbeScore", IS_NUMBER },
	{ "IOPropertyExistsMatch", IS_STRING | IS_ARRAY },
	{ "IOPropertyMatch", IS_DICTIONARY | IS_ARRAY },
	{ "IOProviderClass", IS_STRING },
	{ "IORegistryEntryID", IS_NUMBER },
	{ "IOResourceMatch", IS_STRING | IS_ARRAY },
	{ "IOUserClass", IS_STRING },
	{ "IOUserServerName", IS_STRING },
	{ "IOUserServerOneProcess", IS_BOOLEAN },
	{ "OpenDextAllowedUsers", IS_ARRAY },
	{ "OpenDextClientMappedBARs", IS_ARRAY },
	{ "OpenDextPublish", IS_BOOLEAN },
	{ "bConfigurationValue", IS_NUMBER },
	{ "bDeviceClass", IS_NUMBER },
	{ "bDeviceProtocol", IS_NUMBER },
	{ "bDeviceSubClass", IS_NUMBER },
	{ "bInterfaceClass", IS_NUMBER },
	{ "bInterfaceNumber", IS_NUMBER },
	{ "bInterfaceProtocol", IS_NUMBER },
	{ "bInterfaceSubClass", IS_NUMBER },
	{ "bcdDevice", IS_NUMBER },
	{ "idProduct", IS_NUMBER },
	{ "idProductArray", IS_ARRAY },
	{ "idProductMask", IS_NUMBER },
	{ "idVendor", IS_NUMBER },
};

static unsigned type_of(OSObject *value)
{
	return (OSDynamicCast(OSString, value) != NULL ? IS_STRING : 0U) |
	       (OSDynamicCast(OSNumber, value) != NULL ? IS_NUMBER : 0U) |
	       (OSDynamicCast(OSBoolean, value) != NULL ? IS_BOOLEAN : 0U) |
	       (OSDynamicCast(OSDictionary, value) != NULL ? IS_DICTIONARY : 0U) |
	       (OSDynamicCast(OSArray, value) != NULL ? IS_ARRAY : 0U);
}

static const char *type_names(unsigned types)
{
	switch (types) {
	case IS_STRING:
		return "a string";
	case IS_NUMBER:
		return "an integer";
	case IS_BOOLEAN:
		return "a boolean";
	case IS_DICTIONARY:
		return "a dictionary";
	case IS_ARRAY:
		return "an array";
	case IS_STRING | IS_ARRAY:
		return "a string or an array of strings";
	default:
		return "a dictionary or an array of dictionaries";
	}
}

/* The members of an array that a key allows. */
static unsigned member_types(const char *key, unsigned types)
{
	if (strcmp(key, "OpenDextAllowedUsers") == 0)
		return IS_STRING | IS_NUMBER;
	if (types == IS_ARRAY)
		return IS_NUMBER;
	return types & ~(unsigned)IS_ARRAY;
}

static int check_members(const char *name, const char *key, OSArray *array, unsigned types)
{
	unsigned allowed = member_types(key, types);
	for (uint32_t i = 0; i < OSArray_getCount(array); i++) {
		OSObject *member = OSArray_getObject(array, i);
		if ((type_of(member) & allowed) == 0)
			return bad("%s: element %u of %s has the wrong type", name, i, key);
		OSNumber *number = OSDynamicCast(OSNumber, member);
		if (strcmp(key, "OpenDextClientMappedBARs") == 0 &&
		    OSNumber_unsigned64BitValue(number) > 5)
			return bad("%s: %s holds a number above 5: a card has BARs 0 to 5", name,
				   key);
	}
	return 0;
}

static int check_key_types(const char *name, OSDictionary *keys)
{
	for (size_t i = 0; i < sizeof(key_types) / sizeof(key_types[0]); i++) {
		const char *key = key_types[i].key;
		OSObject *value = OSDictionary_getObject(keys, key);
		if (value == NULL)
			continue;
		if ((type_of(value) & key_types[i].types) == 0)
			return bad("%s: %s must be %s", name, key, type_names(key_types[i].types));
		OSArray *array = OSDynamicCast(OSArray, value);
		int ret = array == NULL ? 0 : check_members(name, key, array, key_types[i].types);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int check_score(const char *name, OSDictionary *keys)
{
	uint64_t score = 0;
	if (!properties_number(keys, "IOProbeScore", &score))
		return 0;
	if ((int64_t)score > INT32_MAX || (int64_t)score < INT32_MIN)
		return bad("%s: IOProbeScore does not fit 32 bits", name);
	return 0;
}

static int check_demand(const char *name, OSDictionary *keys)
{
	OSObject *demand = OSDictionary_getObject(keys, ENTITLEMENT_DEMAND_KEY);
	if (demand != NULL && !entitlements_is_demand(demand))
		return bad("%s: %s must be an entitlement, or an array of alternatives: each an "
			   "entitlement, or an array of those that are all needed",
			   name, ENTITLEMENT_DEMAND_KEY);
	return 0;
}

/* Where nobody would hold a client against it, a demand is a mistake. */
static int check_demands(const char *name, OSDictionary *keys)
{
	OSDictionary *client = properties_dictionary(keys, "UserClientProperties");
	const char *misplaced = entitlements_misplaced(keys);
	if (misplaced != NULL)
		return bad("%s: %s of %s would not be looked at: it belongs into the personality "
			   "or its UserClientProperties",
			   name, ENTITLEMENT_DEMAND_KEY, misplaced);
	int ret = check_demand(name, keys);
	return ret == 0 && client != NULL ? check_demand(name, client) : ret;
}

static int check_personality(const char *name, OSDictionary *keys)
{
	static const char *const required[] = { "IOProviderClass", "IOUserClass" };
	for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
		const char *value = properties_string(keys, required[i]);
		if (OSDictionary_getObject(keys, required[i]) == NULL)
			return bad("%s: %s is missing", name, required[i]);
		if (value != NULL && (value[0] == '\0' || strlen(value) >= sizeof(IOServiceName)))
			return bad("%s: %s must have 1 to %zu bytes", name, required[i],
				   sizeof(IOServiceName) - 1);
	}
	int ret = check_key_types(name, keys);
	if (ret == 0)
		ret = check_score(name, keys);
	if (ret == 0)
		ret = check_demands(name, keys);
	if (ret == 0 && properties_size(keys) > REGISTRY_PROPERTIES_MAX)
		ret = bad("%s: larger than %u KiB", name, REGISTRY_PROPERTIES_MAX / 1024);
	return ret;
}

static int add_personality(struct bundle *bundle, const char *name, OSDictionary *keys)
{
	struct personality *p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	p->bundle = bundle;
	p->name = strdup(name);
	p->keys = OSDictionary_withDictionary(keys);
	list_append(&bundle->personalities, &p->link);
	if (p->name == NULL || p->keys == NULL ||
	    !properties_set_string(p->keys, "CFBundleIdentifier", bundle->identifier))
		return -ENOMEM;
	return 0;
}

static int load_personalities(struct bundle *bundle, OSDictionary *info)
{
	OSObject *value = OSDictionary_getObject(info, "IOKitPersonalities");
	OSDictionary *all = OSDynamicCast(OSDictionary, value);
	if (all == NULL)
		return bad(value == NULL ? "IOKitPersonalities is missing"
					 : "IOKitPersonalities must be a dictionary");
	uint32_t n = OSDictionary_getCount(all);
	if (n == 0 || n > BUNDLE_PERSONALITIES_MAX)
		return bad("IOKitPersonalities has %u entries: 1 to %u are allowed", n,
			   BUNDLE_PERSONALITIES_MAX);

	const char *name;
	for (uint32_t i = 0; OSDictionary_getEntry(all, i, &name, &value); i++) {
		OSDictionary *keys = OSDynamicCast(OSDictionary, value);
		if (keys == NULL)
			return bad("%s: a personality must be a dictionary", name);
		int ret = check_personality(name, keys);
		if (ret == 0)
			ret = add_personality(bundle, name, keys);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* --- files --- */

static int read_info(int directory, OSDictionary **info)
{
	CLEANUP(close_fdp)
	int fd = openat(directory, "Info.plist", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return bad(errno == ELOOP ? "Info.plist is a symbolic link"
					  : "Info.plist cannot be opened: %s",
			   strerror(errno));
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return bad("Info.plist is not a regular file");
	if (st.st_size > (off_t)PLIST_SIZE_MAX)
		return bad("Info.plist is larger than 1 MiB");

	/* One byte of room tells a file that grew meanwhile. */
	CLEANUP(freep) char *data = malloc(PLIST_SIZE_MAX + 1);
	if (data == NULL)
		return -ENOMEM;
	size_t size = 0;
	for (;;) {
		ssize_t n = read(fd, data + size, PLIST_SIZE_MAX + 1 - size);
		if (n < 0)
			return bad("Info.plist cannot be read: %s", strerror(errno));
		if (n == 0)
			break;
		size += (size_t)n;
	}
	return plist_read(data, size, info);
}

static int check_executable(int directory, const char *name)
{
	if (name[0] == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return bad("CFBundleExecutable must be the name of a file in the bundle, not "
			   "\"%s\"",
			   name);
	CLEANUP(close_fdp)
	int fd = openat(directory, name, O_PATH | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return bad("the executable %s cannot be opened: %s", name, strerror(errno));
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return bad("the executable %s is not a regular file in the bundle", name);
	if ((st.st_mode & (S_ISUID | S_ISGID)) != 0)
		return bad("the executable %s is setuid or setgid", name);
	if ((st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0)
		return bad("the executable %s may not be executed: chmod +x it", name);
	return 0;
}

static int open_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return bad(errno == ENOTDIR || errno == ELOOP
				   ? "the bundle is a symbolic link or no folder"
				   : "the bundle cannot be opened: %s",
			   strerror(errno));
	return fd;
}

int bundle_check_executable(const struct bundle *bundle)
{
	CLEANUP(close_fdp) int directory = open_directory(bundle->path);
	if (directory < 0)
		return directory;
	return check_executable(directory, strrchr(bundle->executable, '/') + 1);
}

static int check_new_identifier(const struct list *bundles, const char *identifier)
{
	const struct bundle *other;
	list_for_each(other, bundles, link) {
		if (!other->refused && strcmp(other->identifier, identifier) == 0)
			return bad("%s has the same CFBundleIdentifier, %s, and came first",
				   other->path, identifier);
	}
	return 0;
}

static int load(struct bundle *bundle, const struct list *others)
{
	CLEANUP(close_fdp) int directory = open_directory(bundle->path);
	if (directory < 0)
		return directory;
	CLEANUP(properties_releasep) OSDictionary *info = NULL;
	int ret = read_info(directory, &info);
	if (ret < 0)
		return ret;

	const char *identifier = properties_string(info, "CFBundleIdentifier");
	if (identifier == NULL || identifier[0] == '\0' || strlen(identifier) > 255)
		return bad("CFBundleIdentifier must be a string of 1 to 255 bytes");
	bundle->identifier = strdup(identifier);
	if (bundle->identifier == NULL)
		return -ENOMEM;
	ret = check_new_identifier(others, identifier);
	if (ret < 0)
		return ret;

	const char *executable = properties_string(info, "CFBundleExecutable");
	if (executable == NULL)
		return bad("CFBundleExecutable is missing or not a string");
	ret = check_executable(directory, executable);
	if (ret < 0)
		return ret;
	if (asprintf(&bundle->executable, "%s/%s", bundle->path, executable) < 0) {
		bundle->executable = NULL;
		return -ENOMEM;
	}
	return load_personalities(bundle, info);
}

/* Add the bundle, loaded or refused. */
static int scan_one(struct list *bundles, const char *directory, const char *name)
{
	struct bundle *bundle = bundle_new(directory, name);
	if (bundle == NULL)
		return -ENOMEM;
	reason_clear();
	int ret = load(bundle, bundles);
	if (ret < 0) {
		bundle->refused = true;
		const char *why = ret == -ENOMEM ? "out of memory" : reason_last();
		memcpy(bundle->reason, why, strnlen(why, sizeof(bundle->reason) - 1));
		drop_personalities(bundle);
	}
	list_append(bundles, &bundle->link);
	return 0;
}

static int is_bundle(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);
	return n > 5 && strcmp(entry->d_name + n - 5, ".dext") == 0 && entry->d_name[0] != '.';
}

int bundle_scan(struct list *bundles, const char *directory)
{
	struct dirent **names = NULL;
	int n = scandir(directory, &names, is_bundle, alphasort);
	if (n < 0)
		return errno == ENOENT ? 0 : -errno;

	int ret = 0;
	for (int i = 0; i < n; i++) {
		if (ret == 0 && i < (int)BUNDLES_MAX)
			ret = scan_one(bundles, directory, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	if (ret == 0 && n > (int)BUNDLES_MAX) {
		(void)refuse(kIOReturnOverrun, "%s holds more than %u bundles", directory,
			     BUNDLES_MAX);
		ret = -E2BIG;
	}
	return ret;
}

/* --- questions to a personality --- */

struct personality *bundle_find_personality(const struct list *bundles, const char *bundle_path,
					    const char *name)
{
	const struct bundle *bundle;
	list_for_each(bundle, bundles, link) {
		struct personality *p;
		if (strcmp(bundle->path, bundle_path) != 0)
			continue;
		list_for_each(p, &bundle->personalities, link) {
			if (strcmp(p->name, name) == 0)
				return p;
		}
	}
	return NULL;
}

const char *personality_string(const struct personality *personality, const char *key,
			       const char *otherwise)
{
	const char *value = properties_string(personality->keys, key);
	return value != NULL ? value : otherwise;
}

bool personality_allows(const struct personality *personality, uid_t uid)
{
	OSArray *users = properties_array(personality->keys, "OpenDextAllowedUsers");
	for (uint32_t i = 0; users != NULL && i < OSArray_getCount(users); i++) {
		OSObject *user = OSArray_getObject(users, i);
		OSNumber *number = OSDynamicCast(OSNumber, user);
		if (number != NULL) {
			if (OSNumber_unsigned64BitValue(number) == uid)
				return true;
			continue;
		}
		const char *name = OSString_getCStringNoCopy(OSDynamicCast(OSString, user));
		if (strcmp(name, "*") == 0)
			return true;
		const struct passwd *account = getpwnam(name);
		if (account != NULL && account->pw_uid == uid)
			return true;
	}
	return false;
}
