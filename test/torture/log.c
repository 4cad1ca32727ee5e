/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts what walbrook says in its log (debug level, text): lines with msg="wal restarted", "new generation"
 * (and its reason), "forced hold" and "walk". A line cut by kill -9 is not counted. */
#include "torture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies the value of key (quoted or not) into to. */
static bool attr(const char *line, const char *key, char *to, size_t max)
{
	char find[32];
	snprintf(find, sizeof find, " %s=", key);
	const char *p = strstr(line, find);
	if (!p)
		return false;
	p += strlen(find);
	char end = ' ';
	if (*p == '"') {
		p++;
		end = '"';
	}
	size_t n = 0;
	while (*p && *p != end && *p != '\n' && n + 1 < max)
		to[n++] = *p++;
	to[n] = 0;
	return true;
}

static void count_reason(struct log_counts *to, const char *text)
{
	for (int i = 0; i < REASONS_MAX; i++) {
		if (to->reasons[i].n == 0)
			snprintf(to->reasons[i].text, REASON_BYTES, "%s", text);
		if (strcmp(to->reasons[i].text, text) == 0) {
			to->reasons[i].n++;
			return;
		}
	}
}

void log_count(const char *path, struct log_counts *to)
{
	FILE *f = fopen(path, "re");
	if (!f)
		return;
	char *line = NULL, msg[64], reason[REASON_BYTES];
	size_t cap = 0;
	for (ssize_t n; (n = getline(&line, &cap, f)) > 0;) {
		if (line[n - 1] != '\n')
			continue;
		if (strstr(line, " level=ERROR "))
			to->errors++;
		if (!attr(line, "msg", msg, sizeof msg))
			continue;
		if (strcmp(msg, "wal restarted") == 0) {
			to->wal_restarts++;
		} else if (strcmp(msg, "forced hold") == 0) {
			to->forced_holds++;
		} else if (strcmp(msg, "walk") == 0) {
			to->walks++;
		} else if (strcmp(msg, "new generation") == 0) {
			to->generations++;
			count_reason(to, attr(line, "reason", reason, sizeof reason) ? reason : "(none)");
		}
	}
	free(line);
	fclose(f);
}
