/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a boot loader, its tools or a torn write left for us. The first byte is the backend: 'f' file, 'g' grub, 'u' uboot, 's' systemd-boot,
 * 'e' efi, 't' the text of backend "script". Files are separated by 0x1d; before 0x1f in each is its name, where names matter.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "base/file.h"
#include "base/macro.h"
#include "update/boot.h"

#define EFI_GUID "8be4df61-93ca-11d2-aa0d-00e098032b8c"
#define UBOOT_BYTES 4096u
#define NAME_ROOM 64

static char dir[64];	/* folders "entries" (esp/loader/entries) and "vars"; files env, env.0, env.1, record */

static void path_of(char path[256], const char *name)
{
	snprintf(path, 256, "%s/%s", dir, name);
}

static void remove_dir(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	if (system(command) != 0)
		fprintf(stderr, "%s stays\n", dir);
}

static void folders_make(void)
{
	static const char *const folders[] = { "esp", "esp/loader", "esp/loader/entries", "vars" };
	char path[256];

	snprintf(dir, sizeof(dir), "%s/agent-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(dir) == NULL)
		abort();
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		path_of(path, folders[i]);
		if (mkdir(path, 0700) < 0)
			abort();
	}
	atexit(remove_dir);
}

static void file_make(const char *name, const uint8_t *data, size_t size)
{
	char path[256];
	int fd;

	path_of(path, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	/* Some names cannot be: too long, or a folder. */
	if (fd < 0)
		return;
	if (write_all(fd, data, size) < 0)
		abort();
	close(fd);
}

static void folder_clear(const char *name)
{
	char path[256];
	struct dirent *item;
	DIR *d;

	path_of(path, name);
	d = opendir(path);
	if (d == NULL)
		abort();
	while ((item = readdir(d)) != NULL)
		(void)unlinkat(dirfd(d), item->d_name, 0);
	closedir(d);
}

/* As mkenvimage -r makes it: CRC-32 of the rest, flags, variables. The first byte says whether the CRC is right. */
static void uboot_make(const char *name, const uint8_t *data, size_t size)
{
	uint8_t image[UBOOT_BYTES] = { 0 };
	uint32_t crc;

	if (size > 1)
		memcpy(image + 4, data + 1, size - 1 < UBOOT_BYTES - 4 ? size - 1 : UBOOT_BYTES - 4);
	crc = (uint32_t)crc32(0, image + 5, UBOOT_BYTES - 5);
	if (size > 0 && data[0] == '!')
		crc ^= 1;
	memcpy(image, &crc, sizeof(crc));
	file_make(name, image, sizeof(image));
}

/* One file of the input. */
static void piece_make(char backend, unsigned index, const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, 0x1f, size);
	char name[NAME_ROOM] = "", path[192];

	if ((backend == 's' || backend == 'e') && (end == NULL || end - data >= NAME_ROOM))
		return;
	if (backend == 's' || backend == 'e') {
		memcpy(name, data, (size_t)(end - data));
		size -= (size_t)(end + 1 - data);
		data = end + 1;
		if (strchr(name, '/') != NULL || name[0] == '\0')
			return;
	}
	if (backend == 's')
		snprintf(path, sizeof(path), "esp/loader/entries/%s", name);
	else if (backend == 'e' && strcmp(name, "record") != 0)
		snprintf(path, sizeof(path), "vars/%s-%s", name, EFI_GUID);
	else if (backend == 'e')
		snprintf(path, sizeof(path), "record");
	else if (backend == 'f')
		snprintf(path, sizeof(path), "env");
	else
		snprintf(path, sizeof(path), "env.%u", index & 1);
	if (backend == 'u')
		uboot_make(path, data, size);
	else
		file_make(path, data, size);
}

static void state_check(const struct boot_state *s)
{
	if (s->n_slots > BOOT_SLOTS_MAX || memchr(s->primary, '\0', sizeof(s->primary)) == NULL)
		abort();
	for (size_t i = 0; i < s->n_slots; i++) {
		const struct boot_slot *slot = &s->slots[i];

		if (slot_name_check(slot->name) < 0 || slot->n_tries_left > BOOT_TRIES_MAX)
			abort();
		if ((slot->release[0] != '\0' && !manifest_is_name(slot->release)) || (slot->version[0] != '\0' && !manifest_is_name(slot->version)))
			abort();
	}
	if (s->primary[0] != '\0' && slot_name_check(s->primary) < 0)
		abort();
}

/* What was understood, written and read again, is the same. */
static void text_check(const struct boot_state *s)
{
	struct boot_state again = { 0 };
	char *text = NULL;
	size_t size;

	if (boot_text_print(s, &text, &size, NULL) < 0 || boot_text_parse(text, "again", &again, NULL) < 0 || !boot_state_is_equal(s, &again))
		abort();
	free(text);
}

static void text_run(const uint8_t *data, size_t size)
{
	struct boot_state s = { 0 };
	char *text = malloc(size + 1);

	if (text == NULL)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	if (boot_text_parse(text, "the text", &s, NULL) == 0) {
		state_check(&s);
		text_check(&s);
	}
	free(text);
}

static const struct boot_backend *backend_prepare(char backend, char config[512])
{
	char path[256];

	path_of(path, "env");
	snprintf(config, 512, "%s", path);
	switch (backend) {
	case 'f':
		(void)unlink(path);
		return &boot_file;
	case 'g':
		return &boot_grub;
#if defined(HAVE_UBOOTENV)
	case 'u': {
		char text[512];

		snprintf(text, sizeof(text), "%s/env.0 0x0 0x%x\n%s/env.1 0x0 0x%x\n", dir, UBOOT_BYTES, dir, UBOOT_BYTES);
		file_make("env", (const uint8_t *)text, strlen(text));
		return &boot_uboot;
	}
#endif
	case 's':
		path_of(config, "esp");
		folder_clear("esp/loader/entries");
		return &boot_systemd;
	case 'e':
		snprintf(config, 512, "%s/vars:%s/record", dir, dir);
		folder_clear("vars");
		path_of(path, "record");
		(void)unlink(path);
		return &boot_efi;
	default:
		return NULL;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct boot_backend *backend;
	struct boot_state s = { 0 };
	char config[512];
	unsigned index = 0;

	if (dir[0] == '\0')
		folders_make();
	if (size == 0)
		return 0;
	if (data[0] == 't') {
		text_run(data + 1, size - 1);
		return 0;
	}
	backend = backend_prepare((char)data[0], config);
	if (backend == NULL)
		return 0;
	for (size_t at = 1; at <= size && index < 8; index++) {
		const uint8_t *end = at == size ? NULL : memchr(data + at, 0x1d, size - at);
		size_t n = end == NULL ? size - at : (size_t)(end - data) - at;

		/* Variables are binary: only the last file may hold the byte that separates them. */
		piece_make((char)data[0], index, data + at, n);
		at += n + 1;
	}
	if (backend->load(config, &s, NULL) == 0)
		state_check(&s);
	return 0;
}
