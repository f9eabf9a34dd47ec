/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of a source of updates: the first byte chooses which. */
#include <stdint.h>
#include <string.h>

#include "agentd/fetch/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char id[ACTION_MAX + 1], stop_id[ACTION_MAX + 1];
	struct body_deployment deployment = { 0 };
	struct body_bundle bundle = { 0 };
	struct body_poll poll = { 0 };
	const char *text;

	if (size == 0)
		return 0;
	text = (const char *)data + 1;
	size--;
	switch (data[0]) {
	case 'p':
		if (body_read_poll(text, size, &poll, NULL) >= 0)
			body_poll_clear(&poll);
		break;
	case 'd':
	case 'c':
		if (body_read_deployment(text, size, data[0] == 'd' ? "deployment" : "confirmation", &deployment, NULL) >= 0)
			body_deployment_clear(&deployment);
		break;
	case 'x':
		(void)body_read_cancel(text, size, id, stop_id, NULL);
		break;
	default:
		if (body_read_index(text, size, "gw:1", 1, &bundle, NULL) >= 0)
			body_bundle_clear(&bundle);
	}
	return 0;
}
