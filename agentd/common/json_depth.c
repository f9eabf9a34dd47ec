/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/common/json_depth.h"

bool json_is_too_deep(const char *data, size_t size, unsigned max)
{
	bool in_text = false;
	unsigned depth = 0;

	for (size_t i = 0; i < size; i++) {
		if (in_text) {
			if (data[i] == '\\')
				i++;
			else if (data[i] == '"')
				in_text = false;
		} else if (data[i] == '"') {
			in_text = true;
		} else if (data[i] == '{' || data[i] == '[') {
			if (++depth > max)
				return true;
		} else if ((data[i] == '}' || data[i] == ']') && depth > 0) {
			depth--;
		}
	}
	return false;
}
