/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/openapi.h"
#include "agentd/mgmt/request.h"

void ep_openapi_get(struct request *req)
{
	reply_static(req, "application/json", openapi_text, openapi_text_size);
}
