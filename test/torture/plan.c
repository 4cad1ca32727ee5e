/* SPDX-License-Identifier: Apache-2.0
 *
 * What a round looks like: everything follows from the seed and the number of the round. Styles and page sizes
 * take turns, so that six rounds meet all of them; the rest is drawn. */
#include "torture.h"

#include <stdio.h>
#include <string.h>

const char *const style_names[STYLE_N] = {
	[STYLE_UNPAUSED] = "unpaused",
	[STYLE_MIXED] = "mixed",
	[STYLE_CHECKPOINTS] = "checkpoints",
};

/* Mean pauses of the chores by style, milliseconds over all connections together. */
static const uint32_t chore_ms[STYLE_N][CHORE_N] = {
	/* checkpoint, vacuum, incremental vacuum, read, pause, death inside fsync */
	[STYLE_UNPAUSED] = { 4000, 6000, 1500, 3000, 0, 1000 },
	[STYLE_MIXED] = { 500, 3500, 800, 700, 300, 600 },
	[STYLE_CHECKPOINTS] = { 60, 4000, 1000, 2000, 150, 800 },
};

static void plan_writers(struct round_config *c, uint64_t *rng)
{
	static const uint32_t autocheckpoint[] = { 1000, 20, 0 };
	c->writers = 2 + rng_below(rng, WRITERS_MAX - 1);
	c->conns = 2 + rng_below(rng, CONNS_MAX - 1);
	c->auto_vacuum = rng_below(rng, 3);
	c->autocheckpoint_pages = autocheckpoint[rng_below(rng, 3)];
	c->rollback_percent = 2 + rng_below(rng, 10);
	c->die_in_checkpoint_percent = c->style == STYLE_CHECKPOINTS ? 1 : 10;
	memcpy(c->every_ms, chore_ms[c->style], sizeof c->every_ms);
	switch ((enum round_style)c->style) {
	case STYLE_UNPAUSED:
		c->autocheckpoint_pages = 0;
		c->pace_us = 0;
		c->read_max_ms = 300;
		c->max_checkpoint_pages = 200 + rng_below(rng, 800);
		break;
	case STYLE_MIXED:
		c->pace_us = 500u << rng_below(rng, 4);
		c->read_max_ms = 2000;
		c->max_checkpoint_pages = rng_below(rng, 2) ? 1000 : 0;
		break;
	case STYLE_CHECKPOINTS:
		c->pace_us = 200u << rng_below(rng, 6);
		c->read_max_ms = 400;
		break;
	case STYLE_N:
		break;
	}
}

void plan_round(struct round_config *c, uint64_t seed, uint32_t round, uint32_t round_ms, const char *dir)
{
	static const uint32_t page_bytes[] = { 4096, 512, 65536 };
	static const uint32_t interval_ms[] = { 10, 0, 100, 1000 };
	uint64_t rng = seed ^ (uint64_t)round << 40;
	rng_next(&rng);
	memset(c, 0, sizeof *c);
	c->seed = rng_next(&rng);
	c->round = round;
	c->round_ms = round_ms;
	c->style = (uint32_t)((round + seed) % STYLE_N);
	c->page_bytes = page_bytes[(round + round / 3 + seed / 3) % 3];
	plan_writers(c, &rng);
	c->replicas = 1 + rng_below(&rng, REPLICAS_MAX);
	for (uint32_t i = 0; i < REPLICAS_MAX; i++) {
		c->sync_interval_ms[i] = interval_ms[rng_below(&rng, 4)];
		snprintf(c->replica_path[i], sizeof c->replica_path[i], "%s/replica %u", dir, i);
	}
	c->snapshots = rng_percent(&rng, 50);
	c->daemon_first = rng_percent(&rng, 40);
	snprintf(c->db_path, sizeof c->db_path, "%s/app %u.db", dir, round);
}

void plan_print(const struct round_config *c)
{
	static const char *const vacuum[] = { "none", "full", "incremental" };
	printf("round %u: %s, page %u, auto_vacuum %s, %u writers x %u connections, autocheckpoint %u, "
	       "forced limit %u, %u replica%s (",
	       c->round, style_names[c->style], c->page_bytes, vacuum[c->auto_vacuum], c->writers, c->conns,
	       c->autocheckpoint_pages, c->max_checkpoint_pages, c->replicas, c->replicas == 1 ? "" : "s");
	for (uint32_t i = 0; i < c->replicas; i++)
		printf("%s%u ms", i ? ", " : "", c->sync_interval_ms[i]);
	printf(")%s%s, %u ms\n", c->snapshots ? ", snapshots and retention" : "",
	       c->daemon_first ? ", walbrook first" : "", c->round_ms);
	fflush(stdout);
}

int plan_write_yaml(const struct round_config *c, const char *path)
{
	FILE *f = fopen(path, "we");
	if (!f)
		return -1;
	fprintf(f,
		"logging:\n  level: debug\n  type: text\n  stderr: true\nshutdown-timeout: 110s\ndbs:\n  - "
		"path: '%s'\n",
		c->db_path);
	/* The quota has tests of its own; beside a disk that cannot follow it would end a round. */
	fprintf(f, "    spool-quota: 16GiB\n");
	if (c->max_checkpoint_pages)
		fprintf(f, "    min-checkpoint-page-count: 100\n    max-checkpoint-page-count: %u\n",
			c->max_checkpoint_pages);
	fprintf(f, "    replicas:\n");
	for (uint32_t i = 0; i < c->replicas; i++) {
		fprintf(f, "      - name: r%u\n        path: '%s'\n        sync-interval: %ums\n", i,
			c->replica_path[i], c->sync_interval_ms[i]);
		if (c->snapshots)
			fprintf(f, "        snapshot-interval: 2s\n        retention: 8s\n"
				   "        retention-check-interval: 1s\n");
	}
	return fclose(f) == 0 ? 0 : -1;
}
