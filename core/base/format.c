/*
 * Text without stdio. One pass over the format; each conversion appends to a bounded buffer.
 */
#include "core/base/format.h"

#include <stdbool.h>
#include <stdint.h>

struct output {
	char *buffer;
	size_t capacity;
	size_t length;
};

struct conversion {
	bool left;      // '-' flag: pad on the right
	bool zero;      // '0' flag: pad with zeros
	unsigned width; // smallest number of characters
	unsigned longs; // number of l modifiers; z counts as one
};

static void put(struct output *output, char character)
{
	if (output->length + 1 < output->capacity)
		output->buffer[output->length++] = character;
}

static void put_padded(
	struct output *output, const struct conversion *conversion, const char *text, size_t length)
{
	size_t padding = conversion->width > length ? conversion->width - length : 0;

	for (size_t i = 0; !conversion->left && i < padding; i++)
		put(output, conversion->zero ? '0' : ' ');
	for (size_t i = 0; i < length; i++)
		put(output, text[i]);
	for (size_t i = 0; conversion->left && i < padding; i++)
		put(output, ' ');
}

static void put_number(struct output *output, const struct conversion *conversion, uint64_t value,
	unsigned base, bool negative)
{
	char digits[24];
	size_t start = sizeof(digits);

	do {
		digits[--start] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	if (negative)
		digits[--start] = '-';
	put_padded(output, conversion, digits + start, sizeof(digits) - start);
}

static const char *parse_conversion(const char *format, struct conversion *conversion)
{
	*conversion = (struct conversion){0};
	for (;; format++) {
		if (*format == '-')
			conversion->left = true;
		else if (*format == '0')
			conversion->zero = true;
		else
			break;
	}
	for (; *format >= '0' && *format <= '9'; format++)
		conversion->width = conversion->width * 10 + (unsigned)(*format - '0');
	for (; *format == 'l' || *format == 'z'; format++)
		conversion->longs++;
	return format;
}

static size_t text_length(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

size_t format_text_list(char *buffer, size_t capacity, const char *format, va_list arguments)
{
	struct output output = {buffer, capacity, 0};
	va_list list;

	va_copy(list, arguments);
	for (; *format; format++) {
		struct conversion conversion;

		if (*format != '%') {
			put(&output, *format);
			continue;
		}
		format = parse_conversion(format + 1, &conversion);
		switch (*format) {
		case 's': {
			const char *text = va_arg(list, const char *);

			text = text ? text : "(null)";
			put_padded(&output, &conversion, text, text_length(text));
			break;
		}
		case 'c': {
			char character = (char)va_arg(list, int);

			put_padded(&output, &conversion, &character, 1);
			break;
		}
		case 'd': {
			int64_t value = conversion.longs ? va_arg(list, long) : va_arg(list, int);

			put_number(&output, &conversion,
				value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, value < 0);
			break;
		}
		case 'u':
		case 'x': {
			uint64_t value = conversion.longs ? va_arg(list, unsigned long)
							  : va_arg(list, unsigned);

			put_number(&output, &conversion, value, *format == 'x' ? 16 : 10, false);
			break;
		}
		case 'p':
			put(&output, '0');
			put(&output, 'x');
			put_number(
				&output, &conversion, (uintptr_t)va_arg(list, void *), 16, false);
			break;
		case 0:
			format--;
			break;
		default:
			put(&output, *format);
		}
	}
	va_end(list);
	output.buffer[output.length] = 0;
	return output.length;
}

size_t format_text(char *buffer, size_t capacity, const char *format, ...)
{
	va_list list;
	size_t length;

	va_start(list, format);
	length = format_text_list(buffer, capacity, format, list);
	va_end(list);
	return length;
}
