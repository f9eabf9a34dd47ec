/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/tcti.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <tss2/tss2_tctildr.h>
#include <tss2/tss2_tpm2_types.h>

/* Any 64-bit number that is not another TCTI's. */
#define TCTI_WRAP_MAGIC UINT64_C(0x6167656e74746374)

/* An RSA-3072 key takes a slow chip more than a minute; a chip that needs longer than this for anything is broken. */
#define TCTI_DEADLINE_MS (180 * 1000)

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static struct tcti_wrap *wrap_of(TSS2_TCTI_CONTEXT *tcti)
{
	struct tcti_wrap *w = (struct tcti_wrap *)tcti;

	return w != NULL && w->common.v1.magic == TCTI_WRAP_MAGIC && w->inner != NULL ? w : NULL;
}

static TSS2_RC wrap_transmit(TSS2_TCTI_CONTEXT *tcti, size_t size, uint8_t const *command)
{
	struct tcti_wrap *w = wrap_of(tcti);

	if (w == NULL)
		return TSS2_TCTI_RC_BAD_CONTEXT;
	/* TPM 2.0 Part 1, 18.3: tag, size, command code */
	w->command_code = size >= 10 ? get_be32(command + 6) : 0;
	w->verdict = TCTI_PASS;
	w->answer_size = 0;
	atomic_fetch_add(w->n_commands, 1);
	if (w->hook != NULL)
		w->verdict = w->hook(w->hook_userdata, w->command_code, NULL, 0, &w->verdict_rc);
	if (w->verdict == TCTI_ANSWER)
		return TSS2_RC_SUCCESS;
	return Tss2_Tcti_Transmit(w->inner, size, command);
}

static TSS2_RC wrap_receive(TSS2_TCTI_CONTEXT *tcti, size_t *size, uint8_t *response, int32_t timeout)
{
	struct tcti_wrap *w = wrap_of(tcti);
	bool is_blocking = timeout == TSS2_TCTI_TIMEOUT_BLOCK;
	TSS2_RC rc;

	if (w == NULL)
		return TSS2_TCTI_RC_BAD_CONTEXT;
	if (size == NULL)
		return TSS2_TCTI_RC_BAD_REFERENCE;
	if (w->verdict == TCTI_ANSWER) {
		/* TPM 2.0 Part 1, 18.4: tag TPM_ST_NO_SESSIONS, size, response code */
		uint8_t head[10] = { 0x80, 0x01, 0, 0, 0, 10, (uint8_t)(w->verdict_rc >> 24), (uint8_t)(w->verdict_rc >> 16),
				     (uint8_t)(w->verdict_rc >> 8), (uint8_t)w->verdict_rc };

		if (response != NULL) {
			if (*size < sizeof(head))
				return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
			memcpy(response, head, sizeof(head));
		}
		*size = sizeof(head);
		return TSS2_RC_SUCCESS;
	}
	rc = Tss2_Tcti_Receive(w->inner, size, response, is_blocking ? TCTI_DEADLINE_MS : timeout);
	if (is_blocking && (rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_TRY_AGAIN)
		rc = TSS2_TCTI_RC_IO_ERROR;
	if (rc == TSS2_RC_SUCCESS && w->verdict == TCTI_IO_ERROR)
		rc = TSS2_TCTI_RC_IO_ERROR;
	if (rc != TSS2_RC_SUCCESS || response == NULL)
		return rc;
	if (w->hook != NULL) {
		uint32_t ignored = 0;

		(void)w->hook(w->hook_userdata, w->command_code, response, *size, &ignored);
	}
	if (*size <= sizeof(w->answer)) {
		memcpy(w->answer, response, *size);
		w->answer_size = *size;
	}
	return rc;
}

static void wrap_finalize(TSS2_TCTI_CONTEXT *tcti)
{
	(void)tcti; /* the owner closes */
}

static TSS2_RC wrap_cancel(TSS2_TCTI_CONTEXT *tcti)
{
	struct tcti_wrap *w = wrap_of(tcti);

	return w == NULL ? TSS2_TCTI_RC_BAD_CONTEXT : Tss2_Tcti_Cancel(w->inner);
}

static TSS2_RC wrap_get_poll_handles(TSS2_TCTI_CONTEXT *tcti, TSS2_TCTI_POLL_HANDLE *handles, size_t *n_handles)
{
	struct tcti_wrap *w = wrap_of(tcti);

	return w == NULL ? TSS2_TCTI_RC_BAD_CONTEXT : Tss2_Tcti_GetPollHandles(w->inner, handles, n_handles);
}

static TSS2_RC wrap_set_locality(TSS2_TCTI_CONTEXT *tcti, uint8_t locality)
{
	struct tcti_wrap *w = wrap_of(tcti);

	return w == NULL ? TSS2_TCTI_RC_BAD_CONTEXT : Tss2_Tcti_SetLocality(w->inner, locality);
}

static TSS2_RC wrap_make_sticky(TSS2_TCTI_CONTEXT *tcti, TPM2_HANDLE *handle, uint8_t sticky)
{
	(void)tcti;
	(void)handle;
	(void)sticky;
	return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

TSS2_RC tcti_wrap_open(struct tcti_wrap *w, const char *conf, _Atomic uint64_t *n_commands)
{
	TSS2_TCTI_CONTEXT *inner = NULL;
	TSS2_RC rc;

	rc = Tss2_TctiLdr_Initialize(conf, &inner);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	w->common = (TSS2_TCTI_CONTEXT_COMMON_V2){
		.v1 = {
			.magic = TCTI_WRAP_MAGIC,
			.version = 2,
			.transmit = wrap_transmit,
			.receive = wrap_receive,
			.finalize = wrap_finalize,
			.cancel = wrap_cancel,
			.getPollHandles = wrap_get_poll_handles,
			.setLocality = wrap_set_locality,
		},
		.makeSticky = wrap_make_sticky,
	};
	w->inner = inner;
	w->n_commands = n_commands;
	w->verdict = TCTI_PASS;
	w->answer_size = 0;
	return TSS2_RC_SUCCESS;
}

void tcti_wrap_close(struct tcti_wrap *w)
{
	if (w->inner != NULL)
		Tss2_TctiLdr_Finalize(&w->inner);
	w->inner = NULL;
}

void tcti_preload(const char *conf)
{
	const char *first = conf;
	char file[256];
	int n;

	/* "pcap:swtpm:path=x": each word up to the first that names no library; what is missing is reported by the open. */
	for (n = (int)strcspn(conf, ":"); n > 0; conf += n, conf += *conf == ':', n = (int)strcspn(conf, ":")) {
		bool is_path = memchr(conf, '/', (size_t)n) != NULL;
		void *library = NULL;

		/* tctildr takes a library's path too. Later ones are devices and sockets, not to be touched. */
		if (is_path && conf != first)
			return;
		if (snprintf(file, sizeof(file), "%s%.*s%s", is_path ? "" : "libtss2-tcti-", n, conf, is_path ? "" : ".so.0") < (int)sizeof(file))
			library = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
		if (library == NULL)
			return;
		dlclose(library);
	}
}

bool tcti_is_raw(const char *conf)
{
	const char *dev, *inner = strchr(conf, '@');

	/* A TCTI loaded from a file that stands before another one says so: "/path/libtss2-tcti-x.so:ARGUMENTS@swtpm:path=x". */
	if (conf[0] == '/' && inner != NULL)
		conf = inner + 1;
	while (strncmp(conf, "pcap:", 5) == 0)
		conf += 5;
	if (strncmp(conf, "libtss2-tcti-", 13) == 0)
		conf += 13;
	if (strncmp(conf, "swtpm", 5) == 0 || strncmp(conf, "mssim", 5) == 0)
		return true;
	dev = strstr(conf, "/dev/tpm");
	return strncmp(conf, "device", 6) == 0 && dev != NULL && dev[8] >= '0' && dev[8] <= '9';
}
