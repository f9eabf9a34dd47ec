/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/ctl/label.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef HAVE_QRENCODE
#include <qrencode.h>
#endif

#include "agentd/ctl/label_png.h"
#include "base/macro.h"

#define QUIET 4			/* modules of white around it: ISO/IEC 18004, 9.1 */
#define OUT_MAX (256 * KIB)
#define MODULE_PX 8
#define SHORT_FINGERPRINT 20	/* what a person compares; the QR code has all of it */

/* ---- growing text that is wiped -------------------------------------------------------------------------------- */

struct out {
	struct secret *to;
	bool is_full;
};

static void add(struct out *out, const char *fmt, ...) AGENT_PRINTF(2, 3);
static void add(struct out *out, const char *fmt, ...)
{
	size_t left = out->to->capacity - out->to->size;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf((char *)out->to->data + out->to->size, left, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= left)
		out->is_full = true;
	else
		out->to->size += (size_t)n;
}

/* A serial number is the maker's text: what means something in XML does not get through. */
static void add_xml(struct out *out, const char *text)
{
	for (; *text != '\0'; text++)
		switch (*text) {
		case '&': add(out, "&amp;"); break;
		case '<': add(out, "&lt;"); break;
		case '>': add(out, "&gt;"); break;
		default: add(out, "%c", (unsigned char)*text < 0x20 ? '?' : *text);
		}
}

static void add_groups(struct out *out, const char *hex, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add(out, "%s%c", i > 0 && i % 4 == 0 ? " " : "", hex[i]);
}

int label_url(const struct label *label, struct secret *ret_url)
{
	struct out out = { .to = ret_url };
	int r = secret_alloc(ret_url, 512);

	if (r < 0)
		return r;
	add(&out, "https://gw-");
	for (const char *p = label->serial; *p != '\0'; p++)
		add(&out, "%c", tolower((unsigned char)*p));
	add(&out, ".local/#c=%s&fp=%s", label->secret, label->fingerprint);
	return out.is_full ? -ENOMEM : 0;
}

/* ---- the code itself -------------------------------------------------------------------------------------------- */

/* One byte for each module, 1 is dark; the quiet zone is part of it. */
struct modules {
	struct secret bits;
	int width;
};

static void modules_free(struct modules *modules)
{
	secret_free(&modules->bits);
}

static bool is_dark(const struct modules *m, int x, int y)
{
	return x >= 0 && y >= 0 && x < m->width && y < m->width && m->bits.data[(size_t)y * (size_t)m->width + (size_t)x] != 0;
}

#ifdef HAVE_QRENCODE
bool label_has_qr(void)
{
	return true;
}

static int encode(const struct label *label, struct modules *ret_modules)
{
	_cleanup_secret_ struct secret url = { 0 };
	QRcode *code;
	int r = label_url(label, &url);

	if (r < 0)
		return r;
	code = QRcode_encodeString8bit((const char *)url.data, 0, QR_ECLEVEL_M);
	if (code == NULL)
		return -errno;
	ret_modules->width = code->width + 2 * QUIET;
	r = secret_alloc(&ret_modules->bits, (size_t)ret_modules->width * (size_t)ret_modules->width);
	for (int y = 0; r == 0 && y < code->width; y++)
		for (int x = 0; x < code->width; x++)
			ret_modules->bits.data[(size_t)(y + QUIET) * (size_t)ret_modules->width + (size_t)(x + QUIET)] =
				code->data[(size_t)y * (size_t)code->width + (size_t)x] & 1;
	wipe(code->data, (size_t)code->width * (size_t)code->width);
	QRcode_free(code);
	return r;
}
#else
bool label_has_qr(void)
{
	return false;
}

static int encode(const struct label *label, struct modules *ret_modules)
{
	return -EOPNOTSUPP;
}
#endif

/* ---- terminal --------------------------------------------------------------------------------------------------- */

/* Two rows of modules in one line of text: a character is about twice as high as it is wide. */
static void draw_utf8(struct out *out, const struct modules *m, const char *begin, const char *end)
{
	for (int y = 0; y < m->width; y += 2) {
		add(out, "%s", begin);
		for (int x = 0; x < m->width; x++) {
			bool up = !is_dark(m, x, y), down = y + 1 < m->width && !is_dark(m, x, y + 1);

			add(out, "%s", up && down ? "\xe2\x96\x88" : up ? "\xe2\x96\x80" : down ? "\xe2\x96\x84" : " ");
		}
		add(out, "%s\n", end);
	}
}

static void draw_ascii(struct out *out, const struct modules *m, const char *begin, const char *end)
{
	for (int y = 0; y < m->width; y++) {
		add(out, "%s", begin);
		for (int x = 0; x < m->width; x++)
			add(out, "%s", is_dark(m, x, y) ? "  " : "##");
		add(out, "%s\n", end);
	}
}

int label_text(const struct label *label, enum label_qr qr, bool is_terminal, struct secret *ret_text)
{
	_cleanup_(modules_free) struct modules modules = { 0 };
	const char *begin = is_terminal ? "\033[0;97;40m" : "", *end = is_terminal ? "\033[0m" : "";
	struct out out = { .to = ret_text };
	int r = secret_alloc(ret_text, OUT_MAX);

	if (r == 0 && qr != LABEL_QR_NONE)
		r = encode(label, &modules);
	if (r < 0)
		return r;
	add(&out, "serial: %s\nfactory-secret: %s\ndevice-ca: %s\n", label->serial, label->secret, label->fingerprint);
	if (qr == LABEL_QR_UTF8)
		draw_utf8(&out, &modules, begin, end);
	else if (qr == LABEL_QR_ASCII)
		draw_ascii(&out, &modules, begin, end);
	return out.is_full ? -ENOMEM : 0;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

int label_svg(const struct label *label, struct secret *ret_file)
{
	_cleanup_(modules_free) struct modules modules = { 0 };
	struct out out = { .to = ret_file };
	int r = encode(label, &modules), n = modules.width;

	if (r == 0)
		r = secret_alloc(ret_file, OUT_MAX);
	if (r < 0)
		return r;
	/* Half a millimetre for each module: any telephone reads that. */
	add(&out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.1fmm\" height=\"%.1fmm\" viewBox=\"0 0 %d %d\">\n"
	    "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n<path fill=\"#000\" shape-rendering=\"crispEdges\" d=\"",
	    n / 2.0, (n + 14) / 2.0, n, n + 14, n, n + 14);
	for (int y = 0; y < n; y++)
		for (int x = 0; x < n; x++)
			if (is_dark(&modules, x, y) && !is_dark(&modules, x - 1, y)) {
				int from = x;

				while (is_dark(&modules, x + 1, y))
					x++;
				add(&out, "M%d %dh%dv1H%dz", from, y, x - from + 1, from);
			}
	add(&out, "\"/>\n<g font-family=\"monospace\" font-size=\"3\" text-anchor=\"middle\">\n<text x=\"%.1f\" y=\"%d\">", n / 2.0, n + 2);
	add_xml(&out, label->serial);
	add(&out, "</text>\n<text x=\"%.1f\" y=\"%d\" font-size=\"4\" font-weight=\"bold\">%s</text>\n<text x=\"%.1f\" y=\"%d\">", n / 2.0, n + 7,
	    label->secret, n / 2.0, n + 11);
	add_groups(&out, label->fingerprint, SHORT_FINGERPRINT);
	add(&out, "</text>\n</g>\n</svg>\n");
	return out.is_full ? -ENOMEM : 0;
}

#ifdef HAVE_LIBPNG
bool label_has_png(void)
{
	return label_has_qr();
}

int label_png(const struct label *label, struct secret *ret_file)
{
	_cleanup_(modules_free) struct modules modules = { 0 };
	_cleanup_secret_ struct secret pixels = { 0 };
	size_t side;
	int r = encode(label, &modules);

	if (r < 0)
		return r;
	side = (size_t)modules.width * MODULE_PX;
	r = secret_alloc(&pixels, side * side);
	if (r == 0)
		r = secret_alloc(ret_file, OUT_MAX);
	if (r < 0)
		return r;
	for (size_t y = 0; y < side; y++)
		for (size_t x = 0; x < side; x++)
			pixels.data[y * side + x] = is_dark(&modules, (int)(x / MODULE_PX), (int)(y / MODULE_PX)) ? 0 : 255;
	return png_from_grey(pixels.data, (unsigned)side, (unsigned)side, ret_file);
}
#else
bool label_has_png(void)
{
	return false;
}

int label_png(const struct label *label, struct secret *ret_file)
{
	return -EOPNOTSUPP;
}
#endif
