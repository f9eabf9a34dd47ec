/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_LABEL_H
#define CTL_LABEL_H
/*
 * What stands on the label of a unit: serial number, factory secret, fingerprint of the device CA, and a QR code that opens the
 * web page with the latter two behind '#' (docs/web-page.md). All results hold the secret: they are struct secret.
 */
#include <stdbool.h>

#include "base/secret.h"

#define LABEL_SERIAL_MAX 128

struct label {
	char serial[LABEL_SERIAL_MAX + 1];
	char secret[15];	/* XXXX-XXXX-XXXX */
	char fingerprint[65];	/* SHA-256 over the key of the device CA, hex */
};

enum label_qr { LABEL_QR_NONE, LABEL_QR_ASCII, LABEL_QR_UTF8 };

/* Was libqrencode, was libpng there when this was built. */
bool label_has_qr(void);
bool label_has_png(void);

/* https://gw-SERIAL.local/#c=SECRET&fp=FINGERPRINT, NUL after it. -ENOMEM. */
int label_url(const struct label *label, struct secret *ret_url);
/*
 * For people at a terminal. Light modules are drawn, as most terminals are dark; with @is_terminal the colours are set, so that any
 * terminal shows it right. -ENOMEM, -EOPNOTSUPP (a QR code without libqrencode).
 */
int label_text(const struct label *label, enum label_qr qr, bool is_terminal, struct secret *ret_text);
/* QR code and the three lines as SVG, in millimetres; -EOPNOTSUPP, -ENOMEM. */
int label_svg(const struct label *label, struct secret *ret_file);
/* The QR code alone, 8 pixels for each module; -EOPNOTSUPP, -ENOMEM. */
int label_png(const struct label *label, struct secret *ret_file);

#endif
