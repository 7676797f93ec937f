// SPDX-License-Identifier: Apache-2.0
/* Read from /proc. */

#include <bench/process.h>

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

double process_private_bytes(pid_t pid)
{
	char path[64], line[512];
	double kib = 0;
	bool is_ring = false;
	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return -1;
	while (fgets(line, sizeof(line), f) != NULL) {
		unsigned long begin, end, value;
		if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
			is_ring = strstr(line, "memfd:dext-ring") != NULL;
		else if (!is_ring && (sscanf(line, "Private_Clean: %lu", &value) == 1 ||
				      sscanf(line, "Private_Dirty: %lu", &value) == 1))
			kib += (double)value;
	}
	fclose(f);
	return kib * 1024;
}

static double switches_of_thread(pid_t pid, const char *thread)
{
	char path[300], line[256];
	double n = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, thread);
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL) {
		unsigned long value;
		if (sscanf(line, "voluntary_ctxt_switches: %lu", &value) == 1 ||
		    sscanf(line, "nonvoluntary_ctxt_switches: %lu", &value) == 1)
			n += (double)value;
	}
	fclose(f);
	return n;
}

double process_switches(pid_t pid)
{
	char path[64];
	double n = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *threads = opendir(path);
	if (threads == NULL)
		return -1;
	for (const struct dirent *e; (e = readdir(threads)) != NULL;)
		if (e->d_name[0] != '.')
			n += switches_of_thread(pid, e->d_name);
	closedir(threads);
	return n;
}
