/* SPDX-License-Identifier: Apache-2.0 */

#include <inttypes.h>

#include <dextctl/print.h>

/* --- reading --- */

const char *field_text(OSDictionary *dictionary, const char *key)
{
	OSString *text = OSDynamicCast(OSString, OSDictionary_getObject(dictionary, key));
	return text != NULL ? OSString_getCStringNoCopy(text) : "";
}

uint64_t field_number(OSDictionary *dictionary, const char *key)
{
	OSNumber *number = OSDynamicCast(OSNumber, OSDictionary_getObject(dictionary, key));
	return number != NULL ? OSNumber_unsigned64BitValue(number) : 0;
}

bool field_boolean(OSDictionary *dictionary, const char *key)
{
	OSBoolean *boolean = OSDynamicCast(OSBoolean, OSDictionary_getObject(dictionary, key));
	return boolean != NULL && OSBoolean_getValue(boolean);
}

OSArray *field_array(OSDictionary *dictionary, const char *key)
{
	return OSDynamicCast(OSArray, OSDictionary_getObject(dictionary, key));
}

OSDictionary *field_dictionary(OSDictionary *dictionary, const char *key)
{
	return OSDynamicCast(OSDictionary, OSDictionary_getObject(dictionary, key));
}

uint32_t array_count(OSArray *array)
{
	return array != NULL ? OSArray_getCount(array) : 0;
}

OSDictionary *array_dictionary(OSArray *array, uint32_t index)
{
	return array != NULL ? OSDynamicCast(OSDictionary, OSArray_getObject(array, index)) : NULL;
}

/* --- text --- */

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

/* The control characters above ASCII, two bytes in UTF-8. */
static bool is_high_control(const char *text)
{
	return (unsigned char)text[0] == 0xc2 && ((unsigned char)text[1] & 0xe0) == 0x80;
}

/* Returns the columns taken. */
static int print_escaped(FILE *out, const char *text)
{
	int columns = 0;
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		if (is_control(c) || is_high_control(text)) {
			columns += fprintf(out, "\\x%02x", c);
		} else {
			fputc(c, out);
			columns += (c & 0xc0) != 0x80; // one for each character, not for each byte
		}
	}
	return columns;
}

void print_text(FILE *out, const char *text)
{
	print_escaped(out, text);
}

void print_column(FILE *out, const char *text, int width)
{
	int columns = print_escaped(out, text);
	int spaces = columns < width ? width - columns : 0;
	fprintf(out, "%*s", spaces + 2, "");
}

/* --- JSON --- */

void print_json_text(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (is_control(c))
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void print_json_data(FILE *out, OSData *data)
{
	const uint8_t *bytes = OSData_getBytesNoCopy(data);
	fputc('"', out);
	for (size_t i = 0; i < OSData_getLength(data); i++)
		fprintf(out, "%02x", bytes[i]);
	fputc('"', out);
}

static void print_json_array(FILE *out, OSArray *array)
{
	fputc('[', out);
	for (uint32_t i = 0; i < OSArray_getCount(array); i++) {
		if (i > 0)
			fputs(", ", out);
		print_json(out, OSArray_getObject(array, i));
	}
	fputc(']', out);
}

static void print_json_dictionary(FILE *out, OSDictionary *dictionary)
{
	const char *key;
	OSObject *value;
	fputc('{', out);
	for (uint32_t i = 0; OSDictionary_getEntry(dictionary, i, &key, &value); i++) {
		if (i > 0)
			fputs(", ", out);
		print_json_text(out, key);
		fputs(": ", out);
		print_json(out, value);
	}
	fputc('}', out);
}

void print_json(FILE *out, OSObject *object)
{
	OSString *text = OSDynamicCast(OSString, object);
	OSNumber *number = OSDynamicCast(OSNumber, object);
	OSBoolean *boolean = OSDynamicCast(OSBoolean, object);
	OSData *data = OSDynamicCast(OSData, object);
	OSArray *array = OSDynamicCast(OSArray, object);
	OSDictionary *dictionary = OSDynamicCast(OSDictionary, object);
	if (text != NULL)
		print_json_text(out, OSString_getCStringNoCopy(text));
	else if (number != NULL)
		fprintf(out, "%" PRIu64, OSNumber_unsigned64BitValue(number));
	else if (boolean != NULL)
		fputs(OSBoolean_getValue(boolean) ? "true" : "false", out);
	else if (data != NULL)
		print_json_data(out, data);
	else if (array != NULL)
		print_json_array(out, array);
	else if (dictionary != NULL)
		print_json_dictionary(out, dictionary);
	else
		fputs("null", out);
}
