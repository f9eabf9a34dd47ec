/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/install/pages.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(HAVE_MALLOC_TRIM)
#include <malloc.h>
#endif

/* A library without position independent code has its text written to by the loader: those pages are not those of the file any more. */
static bool has_changed_text(const struct dl_phdr_info *info)
{
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Dyn) *d = (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);

		if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
			continue;
		for (; d->d_tag != DT_NULL; d++)
			if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_TEXTREL) != 0))
				return true;
	}
	return false;
}

static int give_back_one(struct dl_phdr_info *info, size_t size, void *userdata)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	if (has_changed_text(info))
		return 0;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		/* A page that two segments share is mapped twice; both ends are of this mapping. */
		uintptr_t begin = (info->dlpi_addr + p->p_vaddr) & ~(page - 1);
		uintptr_t end = (info->dlpi_addr + p->p_vaddr + p->p_filesz + page - 1) & ~(page - 1);

		if (p->p_type == PT_LOAD && (p->p_flags & PF_W) == 0)
			(void)madvise((void *)begin, end - begin, MADV_DONTNEED); /* nothing depends on it */
	}
	return 0;
}

void pages_give_back(void)
{
	(void)dl_iterate_phdr(give_back_one, NULL);
#if defined(HAVE_MALLOC_TRIM)
	(void)malloc_trim(0);
#endif
}
