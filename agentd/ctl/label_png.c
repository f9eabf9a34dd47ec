/* SPDX-License-Identifier: Apache-2.0 */
/* On its own, because libpng reports errors by longjmp(): nothing here may need a clean-up. */
#include "config.h"

#ifdef HAVE_LIBPNG
#include "agentd/ctl/label_png.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

/* Rows of the code pass through the memory of libpng and zlib. */
static png_voidp wiping_malloc(png_structp png, png_alloc_size_t size)
{
	return malloc(size);
}

static void wiping_free(png_structp png, png_voidp p)
{
	if (p != NULL)
		wipe(p, malloc_usable_size(p));
	free(p);
}

static void on_error(png_structp png, png_const_charp message)
{
	png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
}

static void on_bytes(png_structp png, png_bytep data, size_t size)
{
	struct secret *to = png_get_io_ptr(png);

	if (size > to->capacity - to->size)
		png_error(png, "too large");
	memcpy(to->data + to->size, data, size);
	to->size += size;
}

static void on_flush(png_structp png)
{
}

int png_from_grey(const uint8_t *pixels, unsigned width, unsigned height, struct secret *to)
{
	png_structp png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning, NULL, wiping_malloc, wiping_free);
	png_infop info;

	if (png == NULL)
		return -ENOMEM;
	info = png_create_info_struct(png);
	if (info == NULL || setjmp(png_jmpbuf(png))) {
		png_destroy_write_struct(&png, NULL);
		return -ENOMEM;
	}
	png_set_write_fn(png, to, on_bytes, on_flush);
	png_set_IHDR(png, info, width, height, 8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_set_pHYs(png, info, 11811, 11811, PNG_RESOLUTION_METER); /* 300 dots per inch: 0.68 mm for each module */
	png_write_info(png, info);
	for (unsigned y = 0; y < height; y++)
		png_write_row(png, pixels + (size_t)y * width);
	png_write_end(png, info);
	png_destroy_write_struct(&png, &info);
	return 0;
}
#else
/* ISO C wants something in every file. */
extern int label_png_is_not_built;
#endif
