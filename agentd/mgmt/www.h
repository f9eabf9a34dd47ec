/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_WWW_H
#define MGMT_WWW_H
/* The files of www/, made into www.c by the build. */
#include <stddef.h>

extern const unsigned char www_index_html[], www_app_js[], www_style_css[], www_plain_html[];
extern const size_t www_index_html_size, www_app_js_size, www_style_css_size, www_plain_html_size;

#endif
