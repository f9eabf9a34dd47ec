/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MACRO_H
#define BASE_MACRO_H
/* Cleanup attributes and small macros. Owners free through _cleanup_(), hand over through TAKE_PTR()/TAKE_FD(). */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <agent/error.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)

#define _cleanup_(f) __attribute__((cleanup(f)))

#define TAKE_PTR(p)                            \
	__extension__({                        \
		__typeof__(p) *take_pp = &(p); \
		__typeof__(p) take_p = *take_pp; \
		*take_pp = NULL;               \
		take_p;                        \
	})

#define TAKE_FD(fd)                    \
	__extension__({                \
		int *take_fdp = &(fd); \
		int take_fd = *take_fdp; \
		*take_fdp = -1;        \
		take_fd;               \
	})

/* DEFINE_CLEANUP(type, fn): a function fn##p() that frees a pointer variable of the type, for _cleanup_(). */
#define DEFINE_CLEANUP(type, fn)                                   \
	__attribute__((unused)) static inline void fn##p(type *pp) \
	{                                                          \
		if (*pp != NULL)                                   \
			fn(*pp);                                   \
	}

static inline void free_pp(void *pp)
{
	free(*(void **)pp);
}
#define _cleanup_free_ _cleanup_(free_pp)

static inline void close_fdp(int *fdp)
{
	if (*fdp >= 0)
		close(*fdp);
}
#define _cleanup_close_ _cleanup_(close_fdp)

DEFINE_CLEANUP(struct agent_error *, agent_error_free)
DEFINE_CLEANUP(FILE *, fclose)
#define _cleanup_error_ _cleanup_(agent_error_freep)

#endif
