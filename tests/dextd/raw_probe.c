// SPDX-License-Identifier: Apache-2.0
/*
 * Stands where dext-probe stands, and answers as its file name says. The device's connection is
 * descriptor 3, the answer goes to 4.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <DriverKit/OSCollections.h>
#include <wire/codec.h>

enum { OUTPUT = 4 };

static OSDictionary *identity(const char *provider_class)
{
	OSDictionary *d = OSDictionary_withCapacity(3);
	OSString *name = OSString_withCString(provider_class);
	OSNumber *vendor = OSNumber_withNumber(0x1af4, 16),
		 *device = OSNumber_withNumber(0x1110, 16);
	OSDictionary_setObject(d, "IOProviderClass", OSString_as_OSObject(name));
	OSDictionary_setObject(d, "vendor-id", OSNumber_as_OSObject(vendor));
	OSDictionary_setObject(d, "device-id", OSNumber_as_OSObject(device));
	OSObjectRelease(name);
	OSObjectRelease(vendor);
	OSObjectRelease(device);
	return d;
}

static void write_all(const void *data, size_t size)
{
	const char *at = data;
	while (size > 0) {
		ssize_t n = write(OUTPUT, at, size);
		if (n <= 0)
			exit(EXIT_FAILURE);
		at += n;
		size -= (size_t)n;
	}
}

static void write_devices(unsigned n, const char *provider_class)
{
	struct wire_writer w;
	OSArray *array = OSArray_withCapacity(n);
	for (unsigned i = 0; i < n; i++) {
		OSDictionary *one = identity(provider_class);
		OSArray_setObject(array, OSDictionary_as_OSObject(one));
		OSObjectRelease(one);
	}
	wire_writer_init(&w);
	if (wire_put_object(&w, OSArray_as_OSObject(array)) == 0)
		write_all(w.data, w.size);
	wire_writer_deinit(&w);
	OSObjectRelease(array);
}

int main(int argc, char **argv)
{
	static const char zeroes[256 * 1024];
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *behaviour = slash != NULL ? slash + 1 : "";

	if (strcmp(behaviour, "dies") == 0)
		abort();
	if (strcmp(behaviour, "fails") == 0)
		return EXIT_FAILURE;
	if (strcmp(behaviour, "garbage") == 0)
		write_all("not an object", 13);
	else if (strcmp(behaviour, "huge") == 0)
		write_all(zeroes, sizeof(zeroes));
	else if (strcmp(behaviour, "wrong-class") == 0)
		write_devices(1, "IOUserResources");
	else if (strcmp(behaviour, "many") == 0)
		write_devices(33, "IOPCIDevice");
	else if (strcmp(behaviour, "two") == 0)
		write_devices(2, "IOPCIDevice");
	else if (strcmp(behaviour, "one") == 0)
		write_devices(1, "IOPCIDevice");
	return EXIT_SUCCESS; // "nothing" writes nothing
}
