/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration file: YAML 1.1, keys as in conf/options.c.
 *
 *   1. the whole file is read (CONF_FILE_MAX_BYTES at most) and environment variables are put in
 * (conf/expand.c)
 *   2. libyaml makes one document of it; a second one, or none, is refused
 *   3. the document is walked along the option table: every mapping has a scope, every key must be a row of it
 *   4. `<<: *name` merges the keys of another mapping that are not given beside it
 *   5. each replica is resolved where it stands, keys for all S3 replicas are handed down, conf_check() closes
 *
 * Nothing that is not understood is skipped: unknown, misplaced and repeated keys, values of the wrong shape
 * and tags are errors with "FILE:LINE:COLUMN: ". A value that is empty counts as not given, except where a key
 * is useless without one (path, exec); if a variable that is not set stands on that line, the message says so.
 *
 * Hostile input: libyaml's time grows with the square of the depth, of the number of anchors, and of %TAG lines
 * (a megabyte of `[` takes it minutes), so a first pass over its events bounds all three, and their number. Our
 * walk is as deep as the table, plus MERGE_DEPTH. Aliases may repeat nodes, so every visit is counted and
 * VISITS_MAX ends it.
 */
#include "conf/conf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "conf/expand.h"
#include "conf/nearest.h"
#include "conf/options.h"

enum {
	CONF_FILE_MAX_BYTES = 16 << 20, /* 10,000 databases with several replicas each */
	VISITS_MAX = 2000000,
	MERGE_DEPTH = 8,
	REPLICAS_MAX = 64,
	DEPTH_MAX = 32,
	ANCHORS_MAX = 256
};

struct reader {
	const char *file;
	struct expansions expanded;
	yaml_document_t doc;
	struct conf *c;
	unsigned visits;
	bool keep_origins;
	struct err *e;
};

/* Where each key of a mapping (and of the sections in it) was given; line 0: it was not. Places are those of
 * the expanded text. */
struct seen {
	unsigned line, column;
	const char *variable; /* in its value */
};

static int fail(struct reader *r, unsigned line, unsigned column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* line and column count from 1 and are those of the expanded text. */
static int locate(struct reader *r, unsigned line, unsigned column)
{
	const char *unset = expand_unset(&r->expanded, line);
	if (unset)
		err_hint(r->e, "The environment variable %s, used on this line, is not set", unset);
	return err_wrap(r->e, "%s:%u:%u", r->file, line, expand_column(&r->expanded, line, column));
}

static int fail(struct reader *r, unsigned line, unsigned column, const char *fmt, ...)
{
	char text[ERR_TEXT_BYTES];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	err_set(r->e, ERR_CONFIG, "%s", text);
	return locate(r, line, column);
}

static unsigned line_of(const yaml_node_t *n)
{
	return (unsigned)n->start_mark.line + 1;
}

static unsigned column_of(const yaml_node_t *n)
{
	return (unsigned)n->start_mark.column + 1;
}

static bool is_null(const yaml_node_t *n)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL" };
	if (n->type != YAML_SCALAR_NODE || n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp((const char *)n->data.scalar.value, words[i]) == 0)
			return true;
	return false;
}

static const char *shape_of(const yaml_node_t *n)
{
	return n->type == YAML_MAPPING_NODE    ? "a section with keys"
	       : n->type == YAML_SEQUENCE_NODE ? "a list"
					       : "a single value";
}

/* Every node passes here before it is looked at. */
static yaml_node_t *visit(struct reader *r, int id)
{
	yaml_node_t *n = yaml_document_get_node(&r->doc, id);
	const char *tag = n && n->tag ? (const char *)n->tag : "";
	static const char *const known[] = { "",	   YAML_STR_TAG,   YAML_NULL_TAG, YAML_BOOL_TAG,
					     YAML_INT_TAG, YAML_FLOAT_TAG, YAML_SEQ_TAG,  YAML_MAP_TAG };
	if (!n) {
		err_set(r->e, ERR_FAIL, "%s: the YAML document is not consistent", r->file);
		return NULL;
	}
	if (++r->visits > VISITS_MAX) {
		fail(r, line_of(n), column_of(n), "more than %d values; do aliases (*name) repeat too much?",
		     VISITS_MAX);
		return NULL;
	}
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(tag, known[i]) == 0)
			return n;
	fail(r, line_of(n), column_of(n), "the YAML tag \"%.80s\" is not understood; leave it out", tag);
	return NULL;
}

static int read_map(struct reader *r, yaml_node_t *map, enum option_scope scope, void *base, struct seen *seen,
		    unsigned merges);

static int unknown_key(struct reader *r, const yaml_node_t *n, enum option_scope scope)
{
	const char *key = (const char *)n->data.scalar.value;
	struct nearest near = NEAREST_OF(key);
	char others[160] = "";
	for (size_t i = 0; i < options_n; i++) {
		const char *place = option_scope_text(options[i].scope);
		if (options[i].scope == scope)
			nearest_offer(&near, options[i].name);
		else if (strcmp(options[i].name, key) == 0)
			snprintf(others + strlen(others), sizeof others - strlen(others), "%s%s",
				 *others ? " or " : "", place);
	}
	if (*others)
		return fail(r, line_of(n), column_of(n), "the key \"%.80s\" is not known %s; it belongs %s",
			    key, option_scope_text(scope), others);
	if (near.best)
		return fail(r, line_of(n), column_of(n), "unknown key \"%.80s\" %s; did you mean \"%s\"?", key,
			    option_scope_text(scope), near.best);
	return fail(r, line_of(n), column_of(n),
		    "unknown key \"%.80s\" %s; docs/configuration.md lists those that there are", key,
		    option_scope_text(scope));
}

/* The text of a scalar, or NULL and an error. */
static const char *text_of(struct reader *r, const yaml_node_t *n, const struct option *o)
{
	if (n->type != YAML_SCALAR_NODE) {
		fail(r, line_of(n), column_of(n), "%s must be %s, not %s", o->name,
		     o->type == OPTION_TEXTS ? "a list of single values" : option_type_text(o->type),
		     shape_of(n));
		return NULL;
	}
	if (strlen((const char *)n->data.scalar.value) != n->data.scalar.length) {
		fail(r, line_of(n), column_of(n), "%s contains a NUL character", o->name);
		return NULL;
	}
	return (const char *)n->data.scalar.value;
}

static int set_value(struct reader *r, const yaml_node_t *n, const struct option *o, void *base)
{
	const char *text = text_of(r, n, o);
	bool needs_value = o->type == OPTION_PATH || o->type == OPTION_COMMAND || o->type == OPTION_TEXTS;
	if (!text)
		return -1;
	if (is_null(n) && !needs_value)
		return 0;
	if (option_set(o, base, is_null(n) ? "" : text, r->e) < 0)
		return locate(r, line_of(n), column_of(n));
	return 0;
}

static int read_texts(struct reader *r, const yaml_node_t *list, const struct option *o, void *base)
{
	if (list->data.sequence.items.start == list->data.sequence.items.top)
		return fail(r, line_of(list), column_of(list),
			    "%s is empty; give it a value or leave the key out", o->name);
	for (const int *item = list->data.sequence.items.start; item < list->data.sequence.items.top; item++) {
		const yaml_node_t *n = visit(r, *item);
		if (!n || set_value(r, n, o, base) < 0)
			return -1;
	}
	return 0;
}

static int origins_of(struct reader *r, const struct seen *seen, struct conf_origin **ret)
{
	if (!r->keep_origins)
		return 0;
	struct conf_origin *v = *ret = calloc(options_n, sizeof *v);
	for (size_t i = 0; v && i < options_n; i++) {
		v[i].line = seen[i].line;
		v[i].column = expand_column(&r->expanded, seen[i].line, seen[i].column);
		if (seen[i].variable && !(v[i].variable = strdup(seen[i].variable)))
			v = NULL;
	}
	return v ? 0 : err_sys(r->e, ENOMEM, "%s: cannot keep where its values stand", r->file);
}

/* Puts the place of the key at fault before an error, else that of the mapping. */
static int locate_key(struct reader *r, const yaml_node_t *map, enum option_scope scope, const char *key,
		      const struct seen *seen)
{
	const struct option *o = key ? option_find(scope, key) : NULL;
	const struct seen *at = o ? &seen[o - options] : NULL;
	return at && at->line ? locate(r, at->line, at->column) : locate(r, line_of(map), column_of(map));
}

static int read_replica(struct reader *r, yaml_node_t *map, struct conf_replica *to)
{
	struct seen seen[OPTIONS_MAX] = { 0 };
	const char *key = NULL;
	to->line = line_of(map);
	to->column = expand_column(&r->expanded, to->line, column_of(map));
	if (option_defaults(SCOPE_REPLICA, to, r->e) < 0 || read_map(r, map, SCOPE_REPLICA, to, seen, 0) < 0 ||
	    origins_of(r, seen, &to->origins) < 0)
		return -1;
	if (conf_replica_resolve(to, &key, r->e) == 0)
		return 0;
	return locate_key(r, map, SCOPE_REPLICA, key, seen);
}

static int read_db(struct reader *r, yaml_node_t *map, struct conf_db *to)
{
	struct seen seen[OPTIONS_MAX] = { 0 };
	to->line = line_of(map);
	to->column = expand_column(&r->expanded, to->line, column_of(map));
	if (option_defaults(SCOPE_DB, to, r->e) < 0 || read_map(r, map, SCOPE_DB, to, seen, 0) < 0 ||
	    origins_of(r, seen, &to->origins) < 0)
		return -1;
	const char *key = NULL;
	bool given[OPTIONS_MAX];
	for (size_t i = 0; i < options_n; i++)
		given[i] = seen[i].line > 0;
	if (conf_db_resolve(to, given, &key, r->e) == 0)
		return 0;
	return locate_key(r, map, SCOPE_DB, key, seen);
}

/* Room for one more, zeroed, in an array that grows by doubling; counts it. NULL: no memory. */
static void *grow(void *array, size_t *n, size_t size)
{
	void **at = array;
	if ((*n & (*n - 1)) == 0) { /* 0 or a power of two: full */
		char *v = reallocarray(*at, *n ? 2 * *n : 1, size);
		if (!v)
			return NULL;
		*at = v;
	}
	char *place = (char *)*at + *n * size;
	memset(place, 0, size);
	++*n;
	return place;
}

static int read_list(struct reader *r, const yaml_node_t *list, const struct option *o, void *base)
{
	for (const int *item = list->data.sequence.items.start; item < list->data.sequence.items.top; item++) {
		yaml_node_t *n = visit(r, *item);
		struct conf_db *db = base;
		if (!n)
			return -1;
		if (n->type != YAML_MAPPING_NODE)
			return fail(r, line_of(n), column_of(n),
				    "an item of %s must be a section with keys, not %s", o->name,
				    is_null(n) ? "empty" : shape_of(n));
		if (o->sub == SCOPE_REPLICA && db->replicas_n == REPLICAS_MAX)
			return fail(r, line_of(n), column_of(n), "more than %d replicas of one database",
				    REPLICAS_MAX);
		void *to = o->sub == SCOPE_DB ? grow(&r->c->dbs, &r->c->dbs_n, sizeof *r->c->dbs)
					      : grow(&db->replicas, &db->replicas_n, sizeof *db->replicas);
		if (!to)
			return err_sys(r->e, ENOMEM, "%s: cannot keep item of %s", r->file, o->name);
		if ((o->sub == SCOPE_DB ? read_db(r, n, to) : read_replica(r, n, to)) < 0)
			return -1;
	}
	return 0;
}

static int read_value(struct reader *r, int id, const struct option *o, void *base, struct seen *seen)
{
	yaml_node_t *n = visit(r, id);
	bool section = o->type == OPTION_SECTION, list = o->type == OPTION_SECTIONS || o->type == OPTION_TEXTS;
	if (!n)
		return -1;
	if (!section && !list)
		return set_value(r, n, o, base);
	if (o->type == OPTION_TEXTS ||
	    o->sub == SCOPE_AGE) { /* to encrypt for nobody must not mean: in the clear */
		if (is_null(n) || (section && n->type == YAML_MAPPING_NODE &&
				   n->data.mapping.pairs.start == n->data.mapping.pairs.top))
			return fail(r, line_of(n), column_of(n),
				    "%s is empty; give it a value or leave the key out", o->name);
	}
	if (is_null(n))
		return 0;
	if (n->type != (section ? YAML_MAPPING_NODE : YAML_SEQUENCE_NODE))
		return fail(r, line_of(n), column_of(n), "%s must be %s, not %s", o->name,
			    option_type_text(o->type), shape_of(n));
	if (section)
		return read_map(r, n, o->sub, base, seen, 0);
	return o->type == OPTION_TEXTS ? read_texts(r, n, o, base) : read_list(r, n, o, base);
}

static int merge(struct reader *r, int id, enum option_scope scope, void *base, struct seen *seen,
		 unsigned merges)
{
	yaml_node_t *n = visit(r, id);
	if (!n)
		return -1;
	if (merges == MERGE_DEPTH)
		return fail(r, line_of(n), column_of(n), "more than %d merges (<<) inside each other",
			    MERGE_DEPTH);
	if (n->type == YAML_MAPPING_NODE)
		return read_map(r, n, scope, base, seen, merges + 1);
	if (n->type != YAML_SEQUENCE_NODE)
		return fail(r, line_of(n), column_of(n), "<< takes a section with keys, e.g. *name, not %s",
			    shape_of(n));
	for (const int *item = n->data.sequence.items.start; item < n->data.sequence.items.top; item++) {
		yaml_node_t *map = visit(r, *item);
		if (!map)
			return -1;
		if (map->type != YAML_MAPPING_NODE)
			return fail(r, line_of(map), column_of(map), "<< takes sections with keys, not %s",
				    shape_of(map));
		if (read_map(r, map, scope, base, seen, merges + 1) < 0)
			return -1;
	}
	return 0;
}

/* The first environment variable in a value that is no section. */
static const char *variable_in(struct reader *r, int id)
{
	const yaml_node_t *n = yaml_document_get_node(&r->doc, id);
	if (!n || n->type == YAML_MAPPING_NODE)
		return NULL;
	return expand_within(&r->expanded, line_of(n), column_of(n), (unsigned)n->end_mark.line + 1,
			     (unsigned)n->end_mark.column + 1);
}

static bool is_merge(const yaml_node_t *key)
{
	return strcmp((const char *)key->data.scalar.value, "<<") == 0 &&
	       key->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* One key and its value. `here` tells the keys of this mapping from those of the mapping that merges it in. */
static int read_pair(struct reader *r, const yaml_node_pair_t *pair, enum option_scope scope, void *base,
		     struct seen *seen, bool *here)
{
	const yaml_node_t *key = yaml_document_get_node(&r->doc, pair->key);
	const struct option *o = option_find(scope, (const char *)key->data.scalar.value);
	if (!o || strlen(o->name) != key->data.scalar.length)
		return unknown_key(r, key, scope);
	struct seen *s = &seen[o - options];
	if (here[o - options])
		return fail(r, line_of(key), column_of(key),
			    "the key \"%s\" is given twice; the first time in line %u", o->name, s->line);
	here[o - options] = true;
	if (s->line)
		return 0; /* merged, and overridden by the mapping that merges */
	*s = (struct seen){ line_of(key), column_of(key), variable_in(r, pair->value) };
	return read_value(r, pair->value, o, base, seen);
}

static int read_map(struct reader *r, yaml_node_t *map, enum option_scope scope, void *base, struct seen *seen,
		    unsigned merges)
{
	bool here[OPTIONS_MAX] = { 0 };
	const yaml_node_pair_t *merged = NULL;
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
		const yaml_node_t *key = visit(r, p->key);
		if (!key)
			return -1;
		if (key->type != YAML_SCALAR_NODE)
			return fail(r, line_of(key), column_of(key), "a key must be a word, not %s",
				    shape_of(key));
		if (!is_merge(key)) {
			if (read_pair(r, p, scope, base, seen, here) < 0)
				return -1;
		} else if (merged) {
			return fail(r, line_of(key), column_of(key),
				    "<< is given twice; write <<: [*one, *other]");
		} else {
			merged = p;
		}
	}
	return merged ? merge(r, merged->value, scope, base, seen, merges) : 0;
}

static int hand_down(const struct conf *c, struct conf_replica *p, const char *key, const char *from, char **to,
		     struct err *e)
{
	if (!from || *to)
		return 0;
	if (!(*to = strdup(from)))
		return err_sys(e, ENOMEM, "cannot keep the keys of a replica");
	if (!p->origins)
		return 0;
	struct conf_origin *origin = &p->origins[option_find(SCOPE_REPLICA, key) - options];
	const struct conf_origin *top = &c->origins[option_find(SCOPE_TOP, key) - options];
	*origin = (struct conf_origin){ top->line, top->column, true, NULL };
	if (top->variable && !(origin->variable = strdup(top->variable)))
		return err_sys(e, ENOMEM, "cannot keep the keys of a replica");
	return 0;
}

/* S3 replicas without keys of their own get those of the top level. */
static int hand_down_keys(struct conf *c, struct err *e)
{
	for (size_t i = 0; i < c->dbs_n; i++)
		for (size_t k = 0; k < c->dbs[i].replicas_n; k++) {
			struct conf_replica *p = &c->dbs[i].replicas[k];
			if (strcmp(p->type, replica_types[REPLICA_S3].name) != 0)
				continue;
			if (hand_down(c, p, "access-key-id", c->access_key_id, &p->access_key_id, e) < 0 ||
			    hand_down(c, p, "secret-access-key", c->secret_access_key, &p->secret_access_key,
				      e) < 0)
				return -1;
		}
	return 0;
}

static int read_root(struct reader *r)
{
	struct seen seen[OPTIONS_MAX] = { 0 };
	yaml_node_t *root = yaml_document_get_root_node(&r->doc);
	if (!root || is_null(root))
		return err_set(
			r->e, ERR_CONFIG,
			"%s: the configuration is empty; it needs at least dbs: with a path: and replicas:",
			r->file);
	root = visit(r, 1);
	if (!root)
		return -1;
	if (root->type != YAML_MAPPING_NODE)
		return fail(r, line_of(root), column_of(root),
			    "the configuration must be a section with keys such as dbs:, not %s",
			    shape_of(root));
	if (option_defaults(SCOPE_TOP, r->c, r->e) < 0 || read_map(r, root, SCOPE_TOP, r->c, seen, 0) < 0 ||
	    origins_of(r, seen, &r->c->origins) < 0)
		return -1;
	return hand_down_keys(r->c, r->e) < 0 ? -1 : conf_check(r->c, r->e);
}

/* What libyaml does not like. Errors of the encoding come with a byte offset instead of a line. */
static int yaml_failed(struct reader *r, const yaml_parser_t *p, struct span text)
{
	size_t line = p->problem_mark.line + 1, column = p->problem_mark.column + 1;
	const char *what = p->problem ? p->problem : "not YAML", *hint = "";
	if (p->error == YAML_MEMORY_ERROR)
		return err_sys(r->e, ENOMEM, "%s: cannot be read", r->file);
	if (p->error == YAML_READER_ERROR) {
		line = column = 1;
		for (size_t i = 0; i < p->problem_offset && i < text.n; i++) {
			column = text.p[i] == '\n' ? 1 : column + ((text.p[i] & 0xc0) != 0x80);
			line += text.p[i] == '\n';
		}
		hint = ". The file must be UTF-8 without control characters";
	} else if (p->problem_mark.index < text.n) {
		const uint8_t *at = text.p;
		for (size_t l = 1; l < line && at < text.p + text.n; at++)
			l += *at == '\n';
		at += strspn((const char *)at, " ");
		if (*at == '\t')
			hint = ". YAML is indented with spaces, and this line with a tab";
	}
	return fail(r, (unsigned)line, (unsigned)column, "not valid YAML: %s%s%s%s",
		    p->context ? p->context : "", p->context ? ", " : "", what, hint);
}

static int parser_begin(struct reader *r, yaml_parser_t *p, struct span text)
{
	if (!yaml_parser_initialize(p))
		return err_sys(r->e, ENOMEM, "%s: cannot be read", r->file);
	yaml_parser_set_input_string(p, text.p, text.n);
	yaml_parser_set_encoding(p, YAML_UTF8_ENCODING);
	return 0;
}

static int bound_event(struct reader *r, const yaml_event_t *v, unsigned *depth, unsigned *anchors,
		       unsigned *events)
{
	unsigned line = (unsigned)v->start_mark.line + 1, column = (unsigned)v->start_mark.column + 1;
	const yaml_char_t *anchor = v->type == YAML_SCALAR_EVENT	   ? v->data.scalar.anchor
				    : v->type == YAML_SEQUENCE_START_EVENT ? v->data.sequence_start.anchor
				    : v->type == YAML_MAPPING_START_EVENT  ? v->data.mapping_start.anchor
									   : NULL;
	if (v->type == YAML_SEQUENCE_START_EVENT || v->type == YAML_MAPPING_START_EVENT)
		++*depth;
	if (v->type == YAML_SEQUENCE_END_EVENT || v->type == YAML_MAPPING_END_EVENT)
		--*depth;
	if (++*events > VISITS_MAX)
		return fail(r, line, column, "more than %d values", VISITS_MAX);
	if (*depth > DEPTH_MAX)
		return fail(r, line, column, "more than %d lists and sections inside each other", DEPTH_MAX);
	if (anchor && ++*anchors > ANCHORS_MAX)
		return fail(r, line, column, "more than %d anchors (&name)", ANCHORS_MAX);
	return 0;
}

/* The first pass: see the top. text has a NUL behind its end. */
static int bound(struct reader *r, struct span text)
{
	yaml_parser_t p;
	unsigned depth = 0, anchors = 0, events = 0, line = 1;
	for (const uint8_t *at = text.p, *end = text.p + text.n; at; line++) {
		if (end - at >= 4 && memcmp(at, "%TAG", 4) == 0)
			return fail(r, line, 1, "YAML tags are not understood; leave the line out");
		at = memchr(at, '\n', (size_t)(end - at));
		at = at ? at + 1 : NULL;
	}
	if (parser_begin(r, &p, text) < 0)
		return -1;
	int rc = 0;
	for (bool more = true; more && rc == 0;) {
		yaml_event_t v;
		if (!yaml_parser_parse(&p, &v)) {
			rc = yaml_failed(r, &p, text);
			break;
		}
		rc = bound_event(r, &v, &depth, &anchors, &events);
		more = v.type != YAML_STREAM_END_EVENT;
		yaml_event_delete(&v);
	}
	yaml_parser_delete(&p);
	return rc;
}

static int second_document(struct reader *r, yaml_parser_t *p, struct span text)
{
	int rc = 0;
	if (!yaml_parser_load(p, &r->doc))
		return yaml_failed(r, p, text);
	const yaml_node_t *second = yaml_document_get_root_node(&r->doc);
	if (second)
		rc = fail(r, line_of(second), column_of(second),
			  "a second document begins here (after ---); a configuration is one document");
	yaml_document_delete(&r->doc);
	return rc;
}

/* text has a NUL behind its end. */
static int read_text(struct reader *r, struct span text)
{
	yaml_parser_t p;
	if (bound(r, text) < 0 || parser_begin(r, &p, text) < 0)
		return -1;
	int rc;
	if (!yaml_parser_load(&p, &r->doc)) {
		rc = yaml_failed(r, &p, text);
	} else {
		rc = read_root(r);
		yaml_document_delete(&r->doc);
		if (rc == 0)
			rc = second_document(r, &p, text);
	}
	yaml_parser_delete(&p);
	return rc;
}

static const char *environment(const char *name)
{
	return getenv(name);
}

static int read_expanded(struct reader *r, bool expand_env)
{
	struct dyn raw = DYN_INIT(CONF_FILE_MAX_BYTES), text = DYN_INIT(CONF_FILE_MAX_BYTES + 1);
	int rc = file_read_all(r->file, &raw, r->e);
	/* What cannot be read may be readable later; a directory never. */
	if (rc < 0 && (r->e->kind != ERR_UNREACHABLE || r->e->sys == EISDIR))
		r->e->kind = ERR_CONFIG;
	if (rc == 0 && expand_env)
		rc = expand_text(r->file, (struct span){ raw.p, raw.len }, environment, &text, &r->expanded,
				 r->e);
	else if (rc == 0)
		rc = dyn_add(&text, raw.p, raw.len);
	if (rc == 0 && (rc = dyn_add(&text, "", 1)) < 0)
		err_set(r->e, ERR_CONFIG, "%s: larger than %d bytes", r->file, CONF_FILE_MAX_BYTES);
	if (rc == 0)
		rc = read_text(r, (struct span){ text.p, text.len - 1 });
	dyn_free(&raw);
	dyn_free(&text);
	expansions_free(&r->expanded);
	return rc;
}

static int read_conf(const char *path, bool expand_env, bool keep_origins, struct conf **ret, struct err *e)
{
	struct reader r = { .file = path, .c = calloc(1, sizeof *r.c), .e = e, .keep_origins = keep_origins };
	if (!r.c || !(r.c->file = strdup(path))) {
		free(r.c);
		return err_sys(e, ENOMEM, "%s: cannot be read", path);
	}
	r.c->expand_env = expand_env;
	if (read_expanded(&r, expand_env) < 0) {
		conf_free(r.c);
		return -1;
	}
	*ret = r.c;
	return 0;
}

int conf_read(const char *path, bool expand_env, struct conf **ret, struct err *e)
{
	return read_conf(path, expand_env, false, ret, e);
}

int conf_read_origins(const char *path, bool expand_env, struct conf **ret, struct err *e)
{
	return read_conf(path, expand_env, true, ret, e);
}
