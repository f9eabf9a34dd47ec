/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/request.h"

void ep_status_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "StatusGet"), 0, reply_from_dict, NULL);
}
