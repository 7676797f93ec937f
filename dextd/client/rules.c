// SPDX-License-Identifier: Apache-2.0
/*
 * Strict: an unknown key, a wrong type, an empty list, a user that there is not, a file that others
 * may write: each refuses the whole, with the file, the rule and the key. One table says what a
 * rule may hold.
 */

#include <dextd/client/rules.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <base/text.h>
#include <dextd/match/entitlements.h>
#include <dextd/match/plist.h>
#include <dextd/properties.h>

/* What a client's dictionary may take in the message that opens a connection. */
enum { ENTITLEMENTS_SIZE_MAX = 16 * 1024 };

static int bad(const char *file, const char *rule, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int bad(const char *file, const char *rule, const char *format, ...)
{
	char text[REASON_MAX];
	va_list args;
	va_start(args, format);
	text_format(text, sizeof(text), format, args);
	va_end(args);
	(void)refuse(kIOReturnBadArgument, "the policy %s%s%s: %s", file,
		     rule != NULL ? ", rule " : "", rule != NULL ? rule : "", text);
	return -EINVAL;
}

/* --- life --- */

static void rule_free(struct rule *rule)
{
	list_remove(&rule->link);
	OSObjectRelease(rule->keys);
	OSObjectRelease(rule->user_ids);
	OSObjectRelease(rule->group_ids);
	free(rule->name);
	free(rule->file);
	free(rule);
}

struct rules *rules_free(struct rules *rules)
{
	if (rules == NULL)
		return NULL;
	struct rule *rule, *tmp;
	list_for_each_safe(rule, tmp, &rules->all, link)
		rule_free(rule);
	OSObjectRelease(rules->open_to_any);
	free(rules->path);
	free(rules);
	return NULL;
}

struct rules *rules_new(const char *path)
{
	struct rules *rules = calloc(1, sizeof(*rules));
	if (rules == NULL)
		return NULL;
	list_init(&rules->all);
	rules->path = strdup(path);
	rules->open_to_any = OSDictionary_withCapacity(4);
	if (rules->path == NULL || rules->open_to_any == NULL)
		return rules_free(rules);
	return rules;
}

/* --- the elements of a condition --- */

/* Each: is the element one of a condition's? Else why not. */
static const char *check_text(OSObject *element)
{
	OSString *text = OSDynamicCast(OSString, element);
	return text != NULL && OSString_getLength(text) > 0 ? NULL : "a text is expected";
}

static const char *check_path(OSObject *element)
{
	const char *wrong = check_text(element);
	if (wrong == NULL && OSString_getCStringNoCopy(OSDynamicCast(OSString, element))[0] != '/')
		wrong = "an absolute path is expected";
	return wrong;
}

static const char *check_unit(OSObject *element)
{
	const char *wrong = check_text(element);
	if (wrong != NULL)
		return wrong;
	const char *name = OSString_getCStringNoCopy(OSDynamicCast(OSString, element));
	const char *end = strrchr(name, '.');
	if (end == NULL || strchr(name, '/') != NULL ||
	    (strcmp(end, ".service") != 0 && strcmp(end, ".scope") != 0))
		wrong = "the name of a .service or .scope is expected";
	return wrong;
}

static const char *check_number(OSObject *element)
{
	OSNumber *number = OSDynamicCast(OSNumber, element);
	return number != NULL && OSNumber_unsigned64BitValue(number) <= UINT32_MAX
		       ? NULL
		       : "a number of 32 bits is expected";
}

static const char *check_account(OSObject *element)
{
	return OSDynamicCast(OSNumber, element) != NULL ? check_number(element)
							: check_text(element);
}

/* --- one rule --- */

static const struct condition {
	const char *key;
	const char *(*check)(OSObject *element);
	size_t field; // of struct rule
} conditions[] = {
	{ "Users", check_account, offsetof(struct rule, users) },
	{ "Groups", check_account, offsetof(struct rule, groups) },
	{ "Units", check_unit, offsetof(struct rule, units) },
	{ "Executables", check_path, offsetof(struct rule, executables) },
	{ "Bundles", check_text, offsetof(struct rule, bundles) },
	{ "Classes", check_text, offsetof(struct rule, classes) },
	{ "UserClientTypes", check_number, offsetof(struct rule, types) },
};

enum { N_CONDITIONS = sizeof(conditions) / sizeof(conditions[0]) };

static int take_condition(struct rule *rule, const struct condition *condition)
{
	OSObject *value = OSDictionary_getObject(rule->keys, condition->key);
	OSArray *array = OSDynamicCast(OSArray, value);
	if (value == NULL)
		return 0;
	if (array == NULL || OSArray_getCount(array) == 0)
		return bad(rule->file, rule->name, "%s must be an array with an element at least",
			   condition->key);
	for (uint32_t i = 0; i < OSArray_getCount(array); i++) {
		const char *wrong = condition->check(OSArray_getObject(array, i));
		if (wrong != NULL)
			return bad(rule->file, rule->name, "element %u of %s: %s", i,
				   condition->key, wrong);
	}
	*(OSArray **)(void *)((char *)rule + condition->field) = array;
	return 0;
}

static bool id_of_user(const char *name, uint64_t *id)
{
	const struct passwd *account = getpwnam(name);
	*id = account != NULL ? account->pw_uid : 0;
	return account != NULL;
}

static bool id_of_group(const char *name, uint64_t *id)
{
	const struct group *group = getgrnam(name);
	*id = group != NULL ? group->gr_gid : 0;
	return group != NULL;
}

/* Names become numbers, once: `accounts` is replaced. */
static int resolve(struct rule *rule, OSArray **accounts, OSArray **owner, const char *what,
		   bool (*id_of)(const char *name, uint64_t *id))
{
	if (*accounts == NULL)
		return 0;
	*owner = OSArray_withCapacity(OSArray_getCount(*accounts));
	for (uint32_t i = 0; *owner != NULL && i < OSArray_getCount(*accounts); i++) {
		OSObject *account = OSArray_getObject(*accounts, i);
		OSNumber *number = OSDynamicCast(OSNumber, account);
		OSString *name = OSDynamicCast(OSString, account);
		uint64_t id = number != NULL ? OSNumber_unsigned64BitValue(number) : 0;
		if (name != NULL && !id_of(OSString_getCStringNoCopy(name), &id))
			return bad(rule->file, rule->name, "there is no %s %s", what,
				   OSString_getCStringNoCopy(name));
		if (!properties_append_number(*owner, id))
			return -ENOMEM;
	}
	*accounts = *owner;
	return *owner != NULL ? 0 : -ENOMEM;
}

static int take_effect(struct rule *rule)
{
	static const struct {
		const char *name;
		enum rule_effect effect;
	} effects[] = { { "allow", RULE_ALLOWS }, { "deny", RULE_DENIES } };
	OSObject *value = OSDictionary_getObject(rule->keys, "Effect");
	const char *text = properties_string(rule->keys, "Effect");
	if (value == NULL)
		return 0;
	for (size_t i = 0; text != NULL && i < sizeof(effects) / sizeof(effects[0]); i++) {
		if (strcmp(text, effects[i].name) == 0) {
			rule->effect = effects[i].effect;
			return 0;
		}
	}
	return bad(rule->file, rule->name, "Effect must be allow or deny");
}

static bool are_texts(OSArray *array)
{
	for (uint32_t i = 0; i < OSArray_getCount(array); i++)
		if (check_text(OSArray_getObject(array, i)) != NULL)
			return false;
	return true;
}

static int check_entitlement(const struct rule *rule, const char *name, OSObject *value)
{
	OSArray *array = OSDynamicCast(OSArray, value);
	if (strcmp(name, ENTITLEMENT_ADMIN) == 0 || strcmp(name, ENTITLEMENT_CREATOR) == 0)
		return bad(rule->file, rule->name, "%s is dextd's to give", name);
	if (strcmp(name, ENTITLEMENT_ANY_CLIENT) == 0)
		return bad(rule->file, rule->name, "%s is a bundle's: name it in OpenToAny", name);
	if (strcmp(name, ENTITLEMENT_ACCESS) == 0 && array == NULL)
		return bad(rule->file, rule->name, "%s must be an array of bundle identifiers",
			   name);
	if (array != NULL ? !are_texts(array)
			  : OSDynamicCast(OSDictionary, value) != NULL ||
				    OSDynamicCast(OSData, value) != NULL)
		return bad(rule->file, rule->name,
			   "the entitlement %s must be a boolean, a text, a number or an array of "
			   "texts",
			   name);
	return 0;
}

static int take_entitlements(struct rule *rule)
{
	OSObject *value = OSDictionary_getObject(rule->keys, "Entitlements"), *one;
	rule->entitlements = OSDynamicCast(OSDictionary, value);
	const char *name;
	int ret = 0;
	if (value == NULL)
		return 0;
	if (rule->entitlements == NULL || OSDictionary_getCount(rule->entitlements) == 0)
		return bad(rule->file, rule->name,
			   "Entitlements must be a dictionary with an entry at least");
	if (properties_size(rule->entitlements) > ENTITLEMENTS_SIZE_MAX)
		return bad(rule->file, rule->name, "Entitlements are larger than %d KiB",
			   ENTITLEMENTS_SIZE_MAX / 1024);
	for (uint32_t i = 0; ret == 0 && OSDictionary_getEntry(rule->entitlements, i, &name, &one);
	     i++)
		ret = check_entitlement(rule, name, one);
	return ret;
}

static int check_keys(const struct rule *rule)
{
	const char *key;
	OSObject *value;
	for (uint32_t i = 0; OSDictionary_getEntry(rule->keys, i, &key, &value); i++) {
		bool known = strcmp(key, "Name") == 0 || strcmp(key, "Effect") == 0 ||
			     strcmp(key, "Entitlements") == 0;
		for (size_t k = 0; k < N_CONDITIONS && !known; k++)
			known = strcmp(key, conditions[k].key) == 0;
		if (!known)
			return bad(rule->file, rule->name, "no rule has a key %s", key);
	}
	return 0;
}

static int fill_rule(struct rule *rule)
{
	int ret = check_keys(rule);
	for (size_t i = 0; i < N_CONDITIONS && ret == 0; i++)
		ret = take_condition(rule, &conditions[i]);
	if (ret == 0)
		ret = resolve(rule, &rule->users, &rule->user_ids, "user", id_of_user);
	if (ret == 0)
		ret = resolve(rule, &rule->groups, &rule->group_ids, "group", id_of_group);
	if (ret == 0)
		ret = take_effect(rule);
	if (ret == 0)
		ret = take_entitlements(rule);
	if (ret == 0 && rule->effect == RULE_GRANTS_ONLY && rule->entitlements == NULL)
		ret = bad(rule->file, rule->name, "it has neither Effect nor Entitlements");
	return ret;
}

/* A rule's name is for reasons and logs, so there is one of each in a file. */
static int check_name(const struct rules *rules, const char *file, const char *name)
{
	const struct rule *other;
	if (name == NULL || name[0] == '\0' || strlen(name) > 127)
		return bad(file, NULL, "a rule needs a Name, a text of 1 to 127 bytes");
	list_for_each(other, &rules->all, link) {
		if (strcmp(other->file, file) == 0 && strcmp(other->name, name) == 0)
			return bad(file, name, "there are two of that Name");
	}
	return 0;
}

static int add_rule(struct rules *rules, const char *file, OSObject *value)
{
	OSDictionary *keys = OSDynamicCast(OSDictionary, value);
	if (keys == NULL)
		return bad(file, NULL, "a rule must be a dictionary");
	const char *name = properties_string(keys, "Name");
	int ret = check_name(rules, file, name);
	if (ret < 0)
		return ret;
	if (rules->n == RULES_MAX)
		return bad(file, name, "there are more than %u rules", RULES_MAX);
	struct rule *rule = calloc(1, sizeof(*rule));
	if (rule == NULL)
		return -ENOMEM;
	list_append(&rules->all, &rule->link);
	rules->n++;
	OSObjectRetain(keys);
	rule->keys = keys;
	rule->name = strdup(name);
	rule->file = strdup(file);
	ret = rule->name != NULL && rule->file != NULL ? fill_rule(rule) : -ENOMEM;
	rules->needs_unit = rules->needs_unit || rule->units != NULL;
	rules->needs_file = rules->needs_file || rule->executables != NULL;
	return ret;
}

/* --- one file's content --- */

static int add_rules(struct rules *rules, const char *file, OSArray *array)
{
	int ret = 0;
	for (uint32_t i = 0; i < OSArray_getCount(array) && ret == 0; i++)
		ret = add_rule(rules, file, OSArray_getObject(array, i));
	return ret;
}

static int add_open(struct rules *rules, const char *file, OSArray *bundles)
{
	for (uint32_t i = 0; i < OSArray_getCount(bundles); i++) {
		OSString *name = OSDynamicCast(OSString, OSArray_getObject(bundles, i));
		if (name == NULL || OSString_getLength(name) == 0)
			return bad(file, NULL, "element %u of OpenToAny is no bundle identifier",
				   i);
		if (!properties_set_boolean(rules->open_to_any, OSString_getCStringNoCopy(name),
					    true))
			return -ENOMEM;
	}
	return 0;
}

static int add_top(struct rules *rules, const char *file, OSDictionary *top)
{
	static const struct {
		const char *key;
		int (*add)(struct rules *rules, const char *file, OSArray *array);
	} keys[] = { { "Rules", add_rules }, { "OpenToAny", add_open } };
	const char *key;
	OSObject *value;
	int ret = 0;
	for (uint32_t i = 0; ret == 0 && OSDictionary_getEntry(top, i, &key, &value); i++) {
		size_t k = 0;
		OSArray *array = OSDynamicCast(OSArray, value);
		while (k < sizeof(keys) / sizeof(keys[0]) && strcmp(key, keys[k].key) != 0)
			k++;
		if (k == sizeof(keys) / sizeof(keys[0]))
			return bad(file, NULL,
				   "it has a key %s: Rules and OpenToAny are all "
				   "there are",
				   key);
		if (array == NULL)
			return bad(file, NULL, "%s must be an array", key);
		ret = keys[k].add(rules, file, array);
	}
	return ret;
}

int rules_add(struct rules *rules, const char *file, const void *data, size_t size)
{
	CLEANUP(properties_releasep) OSDictionary *top = NULL;
	int ret = plist_read(data, size, &top);
	if (ret == -EINVAL) {
		char why[REASON_MAX];
		text_copy(why, sizeof(why), reason_last());
		return bad(file, NULL, "%s", why);
	}
	return ret < 0 ? ret : add_top(rules, file, top);
}

/* --- files --- */

/* Only root and dextd's user may say who may do what. */
static int check_owner(int fd, const char *path, mode_t type)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return bad(path, NULL, "%s", strerror(errno));
	if ((st.st_mode & S_IFMT) != type)
		return bad(path, NULL, "it is no regular file");
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return bad(path, NULL, "it belongs to user %u: it must belong to root or user %u",
			   st.st_uid, geteuid());
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return bad(path, NULL, "others may write it: chmod go-w it");
	return 0;
}

static int read_file(struct rules *rules, int fd, const char *path)
{
	int ret = check_owner(fd, path, S_IFREG);
	if (ret < 0)
		return ret;
	/* One byte of room tells a file that is too large. */
	CLEANUP(freep) char *data = malloc(PLIST_SIZE_MAX + 1);
	if (data == NULL)
		return -ENOMEM;
	size_t size = 0;
	for (ssize_t n = 1; n != 0; size += (size_t)n) {
		n = read(fd, data + size, PLIST_SIZE_MAX + 1 - size);
		if (n < 0)
			return bad(path, NULL, "it cannot be read: %s", strerror(errno));
	}
	return rules_add(rules, path, data, size);
}

static int read_entry(struct rules *rules, int folder, const char *name)
{
	char path[PATH_MAX];
	text_print(path, sizeof(path), "%s/%s", rules->path, name);
	CLEANUP(close_fdp)
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return bad(path, NULL, "it cannot be opened: %s", strerror(errno));
	return read_file(rules, fd, path);
}

static int is_policy(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);
	return n > 6 && strcmp(entry->d_name + n - 6, ".plist") == 0 && entry->d_name[0] != '.';
}

static int read_folder(struct rules *rules, int folder)
{
	struct dirent **names = NULL;
	int ret = check_owner(folder, rules->path, S_IFDIR);
	if (ret < 0)
		return ret;
	int n = scandirat(folder, ".", &names, is_policy, alphasort);
	if (n < 0)
		return bad(rules->path, NULL, "it cannot be read: %s", strerror(errno));
	if (n > (int)RULES_FILES_MAX)
		ret = bad(rules->path, NULL, "it has more than %u files", RULES_FILES_MAX);
	for (int i = 0; i < n; i++) {
		if (ret == 0)
			ret = read_entry(rules, folder, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return ret;
}

static int read_all(struct rules *rules, bool must_exist)
{
	struct stat st;
	CLEANUP(close_fdp) int fd = open(rules->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT && !must_exist)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return bad(rules->path, NULL, "it cannot be opened: %s", strerror(errno));
	return S_ISDIR(st.st_mode) ? read_folder(rules, fd) : read_file(rules, fd, rules->path);
}

int rules_read(struct rules **out, const char *path)
{
	struct rules *rules = rules_new(path != NULL ? path : RULES_DEFAULT_PATH);
	int ret = rules != NULL ? read_all(rules, path != NULL) : -ENOMEM;
	if (ret < 0) {
		rules_free(rules);
		return ret;
	}
	*out = rules;
	return 0;
}
