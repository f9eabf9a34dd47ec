/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Installs one bundle through the public API and says how long it took and how much memory it needed: for what bench_agentd cannot ask of
 * agentd-install, which is given no keys for encrypted images. Linked as agentd-install is, and gives back pages where it does.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <agent/context.h>
#include <agent/update.h>

#include "agentd/install/pages.h"

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Resident pages that belong to this process alone: not the libraries, which are shared with whoever runs them already. */
static long anonymous_kib(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[128];
	long kib = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "RssAnon:", 8) == 0)
			kib = strtol(line + 8, NULL, 10);
	if (f != NULL)
		fclose(f);
	return kib;
}

static long peak_anonymous_kib;

static void on_progress(void *userdata, enum agent_update_stage stage, uint64_t done_bytes, uint64_t total_bytes)
{
	unsigned *n = userdata;
	long now;

	if ((*n)++ % 64 != 0)
		return;
	now = anonymous_kib();
	if (now > peak_anonymous_kib)
		peak_anonymous_kib = now;
}

/*
 * How long reading back took: from the sync of the slot, the only fdatasync() there is, to the sync of the journal that follows it. These
 * come before the C library's.
 */
static double synced_at, read_back_s;

int fdatasync(int fd);
int fdatasync(int fd)
{
	int r = (int)syscall(SYS_fdatasync, fd);

	synced_at = seconds();
	return r;
}

int fsync(int fd);
int fsync(int fd)
{
	if (synced_at > 0)
		read_back_s += seconds() - synced_at;
	synced_at = 0;
	return (int)syscall(SYS_fsync, fd);
}

static int on_policy(void *userdata, const struct agent_update_release *release, struct agent_error **err)
{
	pages_give_back();
	return 0;
}

/* As "swupdate -K": "KEY IV" in hexadecimal digits. */
static int key_load(struct agent_update *u, const char *path, struct agent_error **err)
{
	char text[2][65] = { "", "" };
	uint8_t bytes[2][32] = { { 0 } };
	FILE *f = fopen(path, "r");
	int n = f == NULL ? 0 : fscanf(f, "%64s %32s", text[0], text[1]);

	if (f != NULL)
		fclose(f);
	if (n != 2) {
		fprintf(stderr, "bench_install: %s does not hold KEY and IV\n", path);
		exit(2);
	}
	for (size_t k = 0; k < 2; k++)
		for (size_t i = 0; i < 32 && sscanf(text[k] + 2 * i, "%2hhx", &bytes[k][i]) == 1; i++)
			;
	return agent_update_set_key(u, bytes[0], strlen(text[0]) / 2, bytes[1], err);
}

int main(int argc, char **argv)
{
	struct agent_update_options options = { .n_min_signers = 1, .boot_backend = "file", .booted_slot = "a", .n_tries = 3 };
	struct agent_context *ctx = NULL;
	struct agent_update *update = NULL;
	struct agent_error *err = NULL;
	struct rusage usage;
	struct stat st;
	unsigned n = 0;
	double begun, ended;
	int fd, r;

	if (argc != 8 && argc != 9) {
		fprintf(stderr, "usage: bench_install BUNDLE|- TRUST-DIR PRODUCT SLOT-A SLOT-B STATE-DIR BOOT-ENV [KEY-FILE]\n");
		return 2;
	}
	options.trust_dir = argv[2];
	options.product = argv[3];
	options.state_dir = argv[6];
	options.boot_config = argv[7];
	fd = strcmp(argv[1], "-") == 0 ? STDIN_FILENO : open(argv[1], O_RDONLY | O_CLOEXEC);
	begun = seconds();
	r = agent_context_new(&ctx);
	if (r == 0)
		r = agent_update_new(ctx, &options, &update, &err);
	if (r == 0)
		r = agent_update_add_slot(update, "rootfs", "a", argv[4], &err);
	if (r == 0)
		r = agent_update_add_slot(update, "rootfs", "b", argv[5], &err);
	if (r == 0 && argc == 9)
		r = key_load(update, argv[8], &err);
	if (r == 0)
		r = agent_update_set_policy(update, on_policy, NULL, &err);
	if (r == 0)
		pages_give_back();
	if (r == 0)
		r = agent_update_install(update, fd, 0, (uint64_t)time(NULL), on_progress, &n, &err);
	ended = seconds();
	if (r < 0) {
		fprintf(stderr, "bench_install: %s (%s)\n", agent_error_message(err), agent_error_name(err));
		return 1;
	}
	getrusage(RUSAGE_SELF, &usage);
	printf("seconds=%.3f peak_rss_kib=%ld own_kib=%ld read_back_s=%.3f bytes=%" PRIu64 "\n", ended - begun, usage.ru_maxrss, peak_anonymous_kib,
	       read_back_s, fstat(fd, &st) == 0 ? (uint64_t)st.st_size : (uint64_t)0);
	agent_update_free(update);
	agent_context_unref(ctx);
	return 0;
}
