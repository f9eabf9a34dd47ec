/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/secret.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void wipe(void *data, size_t size)
{
	if (data == NULL || size == 0)
		return;
#ifdef HAVE_EXPLICIT_BZERO
	explicit_bzero(data, size);
#else
	memset(data, 0, size);
	__asm__ __volatile__("" : : "r"(data) : "memory");
#endif
}

static size_t mapped_size(size_t capacity)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (capacity + page - 1) / page * page;
}

int secret_alloc(struct secret *s, size_t capacity)
{
	size_t n = mapped_size(capacity == 0 ? 1 : capacity);
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	/* Best effort: RLIMIT_MEMLOCK may be small; the other two do not depend on limits. */
	(void)mlock(p, n);
	(void)madvise(p, n, MADV_DONTDUMP);
	(void)madvise(p, n, MADV_WIPEONFORK);
	*s = (struct secret){ .data = p, .size = 0, .capacity = capacity };
	return 0;
}

int secret_copy(struct secret *s, const void *data, size_t size)
{
	int r = secret_alloc(s, size);

	if (r < 0)
		return r;
	if (size > 0)
		memcpy(s->data, data, size);
	s->size = size;
	return 0;
}

void secret_free(struct secret *s)
{
	if (s->data != NULL) {
		size_t n = mapped_size(s->capacity == 0 ? 1 : s->capacity);

		wipe(s->data, n);
		munmap(s->data, n);
	}
	*s = (struct secret){ 0 };
}

bool secret_equal(const struct secret *a, const void *data, size_t size)
{
	const uint8_t *b = data;
	uint8_t diff = 0;

	if (a->size != size)
		return false;
	for (size_t i = 0; i < size; i++)
		diff |= (uint8_t)(a->data[i] ^ b[i]);
	return diff == 0;
}
