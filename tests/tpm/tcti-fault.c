/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCTI that makes the TPM behind it misbehave as a file says; for tests. Loaded by tctildr under any program:
 *
 *   /path/libtss2-tcti-fault.so:FILE@swtpm:path=SOCKET	('!' in place of '@' hides from agentd that the TPM is a raw one)
 *
 * FILE is read again when it changes; without it nothing is done. A line is "COMMAND ACTION [COUNT [AFTER]]":
 *   COMMAND  a command code in hexadecimal, or * for any
 *   ACTION   0xCODE: answered with this response code, never sent	delay=MS: sent after a pause
 *            lose: sent, but the answer gets lost			cut: not sent, an I/O error
 *            short: answer cut in the middle				noise: answer of pseudo-random bytes, its head is right
 *   COUNT    so often, then no more; 0 (default) for ever		AFTER    let this many such commands pass first
 * The first line that fits and is not used up decides. FILE.count holds "CODE NUMBER" for each command seen by this process.
 * If there is a FILE.bus, the bytes of commands and answers are appended to it as they go over the bus.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tctildr.h>
#include <tss2/tss2_tpm2_types.h>

#define MAGIC UINT64_C(0x666175746c743031)
#define RULES_MAX 16
#define CODES_MAX 64

enum action { PASS, ANSWER, DELAY, LOSE, CUT, SHORT, NOISE };

struct rule {
	uint32_t code; /* 0: any */
	enum action action;
	uint32_t value;
	unsigned long count, after, n_seen;
};

struct fault {
	TSS2_TCTI_CONTEXT_COMMON_V2 common;
	TSS2_TCTI_CONTEXT *inner;
	char file[512];
	enum action action; /* of the command under way */
	uint32_t value;
};

/* Of the process, not of a context: a program that opens its TPM again must not start counting afresh. */
static struct rule rules[RULES_MAX];
static size_t n_rules;
static struct stat rules_stat;
static struct { uint32_t code; unsigned long n; } counts[CODES_MAX];

__attribute__((constructor)) static void preload(void)
{
	/* While the program may still load code. */
	(void)dlopen("libtss2-tcti-swtpm.so.0", RTLD_NOW | RTLD_NODELETE);
	(void)dlopen("libtss2-tcti-device.so.0", RTLD_NOW | RTLD_NODELETE);
}

static bool parse_rule(const char *line, struct rule *r)
{
	char code[16], action[32];
	int n;

	*r = (struct rule){ 0 };
	n = sscanf(line, "%15s %31s %lu %lu", code, action, &r->count, &r->after);
	if (n < 2 || code[0] == '#')
		return false;
	r->code = strcmp(code, "*") == 0 ? 0 : (uint32_t)strtoul(code, NULL, 16);
	if (strncmp(action, "0x", 2) == 0) {
		r->action = ANSWER;
		r->value = (uint32_t)strtoul(action, NULL, 16);
	} else if (strncmp(action, "delay=", 6) == 0) {
		r->action = DELAY;
		r->value = (uint32_t)strtoul(action + 6, NULL, 10);
	} else {
		static const struct { const char *name; enum action action; } names[] = {
			{ "lose", LOSE }, { "cut", CUT }, { "short", SHORT }, { "noise", NOISE },
		};

		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (strcmp(action, names[i].name) == 0)
				r->action = names[i].action;
	}
	return r->action != PASS;
}

static void read_rules(const char *file)
{
	char text[4096], *line, *rest = text;
	struct stat st = { 0 };
	ssize_t n;
	int fd;

	if (stat(file, &st) < 0)
		memset(&st, 0, sizeof(st));
	if (st.st_ino == rules_stat.st_ino && st.st_mtim.tv_sec == rules_stat.st_mtim.tv_sec &&
	    st.st_mtim.tv_nsec == rules_stat.st_mtim.tv_nsec)
		return;
	rules_stat = st;
	n_rules = 0;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return;
	text[n] = '\0';
	while ((line = strsep(&rest, "\n")) != NULL && n_rules < RULES_MAX)
		if (parse_rule(line, &rules[n_rules]))
			n_rules++;
}

static void count(const struct fault *f, uint32_t code)
{
	char text[CODES_MAX * 24], path[sizeof(f->file) + 8];
	size_t n = 0;
	int fd;

	for (size_t i = 0; i < CODES_MAX; i++) {
		if (counts[i].n == 0)
			counts[i].code = code;
		if (counts[i].code == code) {
			counts[i].n++;
			break;
		}
	}
	for (size_t i = 0; i < CODES_MAX && counts[i].n > 0; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%x %lu\n", (unsigned)counts[i].code, counts[i].n);
	snprintf(path, sizeof(path), "%s.count", f->file);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd >= 0) {
		ssize_t written = pwrite(fd, text, n, 0);

		(void)written;
		close(fd);
	}
}

static void record(const struct fault *f, const uint8_t *bytes, size_t size)
{
	char path[sizeof(f->file) + 8];
	int fd;

	snprintf(path, sizeof(path), "%s.bus", f->file);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return;
	/* A recording with gaps would prove nothing. */
	if (write(fd, bytes, size) != (ssize_t)size)
		abort();
	close(fd);
}

static void decide(struct fault *f, uint32_t code)
{
	f->action = PASS;
	for (size_t i = 0; i < n_rules; i++) {
		struct rule *r = &rules[i];

		if (r->code != 0 && r->code != code)
			continue;
		r->n_seen++;
		if (r->n_seen <= r->after || (r->count > 0 && r->n_seen > r->after + r->count))
			continue;
		f->action = r->action;
		f->value = r->value;
		return;
	}
}

static struct fault *fault_of(TSS2_TCTI_CONTEXT *tcti)
{
	struct fault *f = (struct fault *)tcti;

	return f != NULL && f->common.v1.magic == MAGIC ? f : NULL;
}

static TSS2_RC fault_transmit(TSS2_TCTI_CONTEXT *tcti, size_t size, uint8_t const *command)
{
	struct fault *f = fault_of(tcti);
	uint32_t code;

	if (f == NULL || size < 10)
		return TSS2_TCTI_RC_BAD_CONTEXT;
	code = (uint32_t)command[6] << 24 | (uint32_t)command[7] << 16 | (uint32_t)command[8] << 8 | command[9];
	read_rules(f->file);
	count(f, code);
	decide(f, code);
	if (f->action == CUT)
		return TSS2_TCTI_RC_IO_ERROR;
	if (f->action == ANSWER)
		return TSS2_RC_SUCCESS;
	if (f->action == DELAY) {
		struct timespec ts = { .tv_sec = f->value / 1000, .tv_nsec = (long)(f->value % 1000) * 1000000 };

		while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
			;
	}
	record(f, command, size);
	return Tss2_Tcti_Transmit(f->inner, size, command);
}

static TSS2_RC fault_receive(TSS2_TCTI_CONTEXT *tcti, size_t *size, uint8_t *response, int32_t timeout)
{
	struct fault *f = fault_of(tcti);
	TSS2_RC rc;

	if (f == NULL || size == NULL)
		return TSS2_TCTI_RC_BAD_CONTEXT;
	if (f->action == ANSWER) {
		uint8_t head[10] = { 0x80, 0x01, 0, 0, 0, 10, (uint8_t)(f->value >> 24), (uint8_t)(f->value >> 16),
				     (uint8_t)(f->value >> 8), (uint8_t)f->value };

		if (response != NULL) {
			if (*size < sizeof(head))
				return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
			memcpy(response, head, sizeof(head));
		}
		*size = sizeof(head);
		return TSS2_RC_SUCCESS;
	}
	rc = Tss2_Tcti_Receive(f->inner, size, response, timeout);
	if (rc != TSS2_RC_SUCCESS || response == NULL)
		return rc;
	record(f, response, *size);
	if (f->action == LOSE)
		return TSS2_TCTI_RC_IO_ERROR;
	if (f->action == SHORT && *size > 12) {
		/* The head still says the whole size and the caller's buffer would still hold the rest. */
		memset(response + *size / 2, 0, *size - *size / 2);
		*size = *size / 2;
	}
	if (f->action == NOISE)
		for (size_t i = 10; i < *size; i++)
			response[i] = (uint8_t)(response[i] * 31 + i * 17 + 7);
	return rc;
}

static void fault_finalize(TSS2_TCTI_CONTEXT *tcti)
{
	struct fault *f = fault_of(tcti);

	if (f != NULL && f->inner != NULL)
		Tss2_TctiLdr_Finalize(&f->inner);
}

static TSS2_RC fault_cancel(TSS2_TCTI_CONTEXT *tcti)
{
	struct fault *f = fault_of(tcti);

	return f == NULL ? TSS2_TCTI_RC_BAD_CONTEXT : Tss2_Tcti_Cancel(f->inner);
}

static TSS2_RC fault_poll(TSS2_TCTI_CONTEXT *tcti, TSS2_TCTI_POLL_HANDLE *handles, size_t *n)
{
	struct fault *f = fault_of(tcti);

	return f == NULL ? TSS2_TCTI_RC_BAD_CONTEXT : Tss2_Tcti_GetPollHandles(f->inner, handles, n);
}

static TSS2_RC fault_locality(TSS2_TCTI_CONTEXT *tcti, uint8_t locality)
{
	struct fault *f = fault_of(tcti);

	return f == NULL ? TSS2_TCTI_RC_BAD_CONTEXT : Tss2_Tcti_SetLocality(f->inner, locality);
}

static TSS2_RC fault_sticky(TSS2_TCTI_CONTEXT *tcti, TPM2_HANDLE *handle, uint8_t sticky)
{
	(void)tcti;
	(void)handle;
	(void)sticky;
	return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC fault_init(TSS2_TCTI_CONTEXT *tcti, size_t *size, const char *conf)
{
	struct fault *f = (struct fault *)tcti;
	size_t n = conf == NULL ? 0 : strcspn(conf, "@!");
	TSS2_RC rc;

	if (size == NULL || n == 0 || conf[n] == '\0' || n >= sizeof(f->file))
		return TSS2_TCTI_RC_BAD_VALUE;
	if (tcti == NULL) {
		*size = sizeof(*f);
		return TSS2_RC_SUCCESS;
	}
	memset(f, 0, sizeof(*f));
	memcpy(f->file, conf, n);
	rc = Tss2_TctiLdr_Initialize(conf + n + 1, &f->inner);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	f->common = (TSS2_TCTI_CONTEXT_COMMON_V2){
		.v1 = { .magic = MAGIC, .version = 2, .transmit = fault_transmit, .receive = fault_receive, .finalize = fault_finalize,
			.cancel = fault_cancel, .getPollHandles = fault_poll, .setLocality = fault_locality },
		.makeSticky = fault_sticky,
	};
	return TSS2_RC_SUCCESS;
}

const TSS2_TCTI_INFO *Tss2_Tcti_Info(void);
__attribute__((visibility("default"))) const TSS2_TCTI_INFO *Tss2_Tcti_Info(void)
{
	static const TSS2_TCTI_INFO info = {
		.version = 2,
		.name = "tcti-fault",
		.description = "a TPM that misbehaves, for tests",
		.config_help = "FILE@INNER-TCTI",
		.init = fault_init,
	};

	return &info;
}
