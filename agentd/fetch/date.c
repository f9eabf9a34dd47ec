/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/fetch/http.h"

#include <stdio.h>
#include <string.h>

/* IMF-fixdate, "Sun, 06 Nov 1994 08:49:37 GMT": written again it must be the same, so nothing else is taken. */
uint64_t http_date_parse(const char *text)
{
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	static const unsigned before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
	unsigned day, year, hour, minute, second, month = 0;
	char week_day[4], name[4], again[32];
	uint64_t days;
	int leap;

	if (strlen(text) != 29 || sscanf(text, "%3s, %2u %3s %4u %2u:%2u:%2u GMT", week_day, &day, name, &year, &hour, &minute, &second) != 7)
		return 0;
	snprintf(again, sizeof(again), "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", text, day, name, year, hour, minute, second);
	while (month < 12 && strcmp(months[month], name) != 0)
		month++;
	if (strcmp(again, text) != 0 || month == 12 || day < 1 || day > 31 || year < 1970 || hour > 23 || minute > 59 || second > 60)
		return 0;
	leap = month > 1 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	days = (uint64_t)(year - 1970) * 365 + (year - 1969) / 4 - (year - 1901) / 100 + (year - 1601) / 400 + before[month] + (unsigned)leap + day - 1;
	return ((days * 24 + hour) * 60 + minute) * 60 + second;
}
