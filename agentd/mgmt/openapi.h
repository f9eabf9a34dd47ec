/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_OPENAPI_H
#define MGMT_OPENAPI_H
/* The OpenAPI document, made into openapi_text.c by the build (openapi.c writes it). */
#include <stddef.h>

extern const char openapi_text[];
extern const size_t openapi_text_size;

#endif
