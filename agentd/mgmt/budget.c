/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/budget.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>

#define TRIES 5
#define TRIES_US 200000		/* a slow processor is measured less often; one try is what it takes at least */
#define TURNS_MAX 16
#define SECOND_US 1000000

static uint64_t cpu_us(void)
{
	struct timespec t = { 0 };

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * SECOND_US + (uint64_t)t.tv_nsec / 1000;
}

/* One handshake between the two; *ret_us is what the server's part took. */
static bool shake(SSL *server, SSL *client, uint64_t *ret_us)
{
	BIO *at_server, *at_client;
	uint64_t begun_us;

	*ret_us = 0;
	if (server == NULL || client == NULL || BIO_new_bio_pair(&at_server, 0, &at_client, 0) != 1)
		return false;
	SSL_set_bio(server, at_server, at_server);
	SSL_set_bio(client, at_client, at_client);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (int turn = 0; turn < TURNS_MAX; turn++) {
		(void)SSL_do_handshake(client);
		begun_us = cpu_us();
		(void)SSL_do_handshake(server);
		*ret_us += cpu_us() - begun_us;
		if (SSL_is_init_finished(server) && SSL_is_init_finished(client))
			return true;
	}
	return false;
}

uint32_t budget_handshake_us(SSL_CTX *ctx)
{
	SSL_CTX *client_ctx = SSL_CTX_new(TLS_client_method());
	uint64_t begun_us = cpu_us(), best_us = 0, us;

	for (int i = 0; client_ctx != NULL && i < TRIES && (i == 0 || cpu_us() - begun_us < TRIES_US); i++) {
		SSL *server = SSL_new(ctx), *client = SSL_new(client_ctx);

		if (shake(server, client, &us) && (best_us == 0 || us < best_us))
			best_us = us > 0 ? us : 1;
		SSL_free(server);
		SSL_free(client);
	}
	SSL_CTX_free(client_ctx);
	ERR_clear_error();
	return best_us > UINT32_MAX ? UINT32_MAX : (uint32_t)best_us;
}

static bool read_file(const char *path, char *ret_text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret_text, size - 1);

	if (fd >= 0)
		close(fd);
	ret_text[n < 0 ? 0 : n] = '\0';
	return n >= 0;
}

static unsigned share_of(int64_t quota, int64_t period)
{
	if (quota <= 0 || period <= 0 || quota >= period)
		return BUDGET_WHOLE_CPU;
	quota = quota * BUDGET_WHOLE_CPU / period;
	return quota < 1 ? 1 : (unsigned)quota;
}

/* Of the group in @folder; a missing file and "max" are no limit. */
static unsigned group_share(const char *folder, bool is_v1)
{
	char path[600], text[64];
	int64_t quota, period;

	snprintf(path, sizeof(path), "%s/%s", folder, is_v1 ? "cpu.cfs_quota_us" : "cpu.max");
	if (!read_file(path, text, sizeof(text)))
		return BUDGET_WHOLE_CPU;
	if (!is_v1)
		return sscanf(text, "%" SCNd64 " %" SCNd64, &quota, &period) == 2 ? share_of(quota, period) : BUDGET_WHOLE_CPU;
	if (sscanf(text, "%" SCNd64, &quota) != 1)
		return BUDGET_WHOLE_CPU;
	snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", folder);
	return read_file(path, text, sizeof(text)) && sscanf(text, "%" SCNd64, &period) == 1 ? share_of(quota, period) : BUDGET_WHOLE_CPU;
}

/* "cpu" among names with commas between */
static bool has_cpu(const char *controllers, size_t size)
{
	for (const char *p = controllers, *end = controllers + size; p < end;) {
		size_t n = strcspn(p, ",:");

		if (n == 3 && strncmp(p, "cpu", 3) == 0)
			return true;
		p += n + 1;
	}
	return false;
}

unsigned budget_cpu_share(const char *groups, const char *mount)
{
	char text[4096], folder[512], *rest = text, *line;
	unsigned least = BUDGET_WHOLE_CPU;

	if (!read_file(groups, text, sizeof(text)))
		return least;
	while ((line = strsep(&rest, "\n")) != NULL) {
		/* "0::/path" is version 2, "4:cpu,cpuacct:/path" version 1 */
		char *controllers = strchr(line, ':'), *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');
		bool is_v2 = path != NULL && path == controllers + 1;
		size_t n_mount;

		if (path == NULL || strstr(path, "..") != NULL || (!is_v2 && !has_cpu(controllers + 1, (size_t)(path - controllers - 1))))
			continue;
		n_mount = (size_t)snprintf(folder, sizeof(folder), "%s%s", mount, is_v2 ? "" : "/cpu");
		if (n_mount + strlen(path) >= sizeof(folder))
			continue;
		strcpy(folder + n_mount, path + 1);
		/* The group itself and all above it. */
		for (;;) {
			unsigned share = group_share(folder, !is_v2);
			char *last = strrchr(folder, '/');

			if (share < least)
				least = share;
			if (last == NULL || last < folder + n_mount)
				break;
			*last = '\0';
		}
	}
	return least;
}

unsigned budget_rate(uint32_t handshake_us, unsigned cpu_share)
{
	uint64_t rate = handshake_us == 0 ? SECOND_US / limit_rates[LIMIT_HANDSHAKE].interval_us + SECOND_US / limit_rates[LIMIT_HANDSHAKE_KNOWN].interval_us :
					    (uint64_t)SECOND_US / 4 * cpu_share / BUDGET_WHOLE_CPU / handshake_us;

	return rate < BUDGET_MIN ? BUDGET_MIN : rate > BUDGET_MAX ? BUDGET_MAX : (unsigned)rate;
}

void budget_apply(struct limit_table *limits, unsigned rate)
{
	uint32_t interval_us = SECOND_US / rate;	/* of all together */
	uint32_t burst = rate * 3 / 4 / 5;

	limit_set_rate(limits, LIMIT_HANDSHAKE, (struct limit_rate){ interval_us * 4 / 3, burst < 4 ? 4 : burst });
	/* A browser opens several connections at once. */
	limit_set_rate(limits, LIMIT_HANDSHAKE_KNOWN, (struct limit_rate){ interval_us * 4, burst / 3 < 10 ? 10 : burst / 3 });
}
