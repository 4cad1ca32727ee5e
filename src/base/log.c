/* SPDX-License-Identifier: Apache-2.0
 *
 * The log: see log.h. A line is put together in a buffer on the stack and handed over with one write(2) of at
 * most 4096 bytes, which pipes take as a whole, so lines of several threads never mix and nothing is allocated
 * or locked.
 *
 * Text is that of Go's slog text handler: time=… level=… msg=… key=value, a value in quotes when it is empty or
 * contains a space, `=`, `"`, a control or another unprintable character. JSON: one object with time, level,
 * msg and the attributes; durations are "1.5s" in text and whole nanoseconds in JSON.
 *
 * Once log_collapse was called, warnings and errors that repeat are not all written (base/repeat.h tells
 * which): two are the same when message and strings are, whatever the numbers. A line says with repeated=N how
 * many like it were left out before it; the end of a series that was left out follows as a line of its own,
 * when it has been quiet for ten minutes and something is logged, or at log_flush.
 *
 * When the journal reads what we write, each text line begins with its priority (<3>), which the journal takes
 * off; JSON lines do not, so that they stay JSON whoever reads them.
 *
 * Failure modes: a line that is too long is cut inside the string that does not fit ("…" marks the place) and
 * the attributes behind it are left out; the JSON stays valid. A log that cannot be written is nobody's error:
 * the line is lost. errno is kept. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/repeat.h"

/* What is kept free for the end of a line that is cut: the mark, quote, brace and line feed. */
enum { LINE_BYTES = 4096, LINE_END_BYTES = 8 };

struct line {
	char b[LINE_BYTES];
	size_t n;
	bool full;
};

static struct {
	_Atomic enum log_level least;
	_Atomic bool json;
	bool collapse;
	_Atomic int fd;
	_Atomic int journal; /* what is behind fd: 1 the journal, 0 not, -1 not looked at yet */
} config = { .least = LOG_INFO, .fd = STDERR_FILENO, .journal = -1 };

static pthread_mutex_t repeats_lock = PTHREAD_MUTEX_INITIALIZER;
static struct repeats repeats;

void log_setup(enum log_level least, bool json, int fd)
{
	config.least = least;
	config.json = json;
	config.fd = fd;
	config.journal = -1;
}

void log_collapse(bool on)
{
	pthread_mutex_lock(&repeats_lock);
	config.collapse = on;
	memset(&repeats, 0, sizeof repeats);
	pthread_mutex_unlock(&repeats_lock);
}

bool log_enabled(enum log_level level)
{
	return level >= config.least;
}

/* All of it or, once the line is full, nothing. */
static void put(struct line *l, const char *s, size_t n)
{
	if (l->full || l->n + n > LINE_BYTES - LINE_END_BYTES) {
		l->full = true;
		return;
	}
	memcpy(l->b + l->n, s, n);
	l->n += n;
}

static void put_text(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

/* Into the room that is kept for the end. */
static void put_end(struct line *l, const char *s)
{
	size_t n = strlen(s);
	memcpy(l->b + l->n, s, n);
	l->n += n;
}

/* Length of the UTF-8 character at s (NUL-terminated), its code point in *ret; 0 if it is not one. */
static size_t utf8(const char *s, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char c = (unsigned char)*s;
	size_t n = c < 0x80		   ? 1
		   : c >= 0xc2 && c < 0xe0 ? 2
		   : c >= 0xe0 && c < 0xf0 ? 3
		   : c >= 0xf0 && c < 0xf5 ? 4
					   : 0;
	if (n == 0)
		return 0;
	uint32_t v = n == 1 ? c : c & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		unsigned char d = (unsigned char)s[i];
		if ((d & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (d & 0x3f);
	}
	if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
		return 0;
	*ret = v;
	return n;
}

/* Characters beyond ASCII that a terminal does not show as a glyph of their own: controls, spaces, direction
 * marks. */
static bool hidden(uint32_t c)
{
	return (c >= 0x80 && c <= 0xa0) || c == 0xad || c == 0x1680 || (c >= 0x2000 && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202f) || (c >= 0x205f && c <= 0x206f) || c == 0x3000 || c == 0xfeff;
}

static bool needs_quotes(const char *s)
{
	if (!*s)
		return true;
	while (*s) {
		uint32_t c;
		size_t n = utf8(s, &c);
		if (n == 0 || c <= ' ' || c == '"' || c == '=' || c == 0x7f || (n > 1 && hidden(c)))
			return true;
		s += n;
	}
	return false;
}

/* One character as an escape, or as it is. Invalid bytes: \xNN in text, U+FFFD in JSON. */
static void put_char(struct line *l, const char *s, size_t n, uint32_t c, bool json)
{
	/* JSON has no \a and no \v. */
	static const char named[] = "\a\v\b\t\n\f\r\"\\", letters[] = "avbtnfr\"\\";
	char esc[16];
	const char *at = n == 1 && c ? strchr(json ? named + 2 : named, (int)c) : NULL;
	if (n == 0)
		snprintf(esc, sizeof esc, json ? "\\ufffd" : "\\x%02x", (unsigned)(unsigned char)*s);
	else if (at)
		snprintf(esc, sizeof esc, "\\%c", letters[at - named]);
	else if (n == 1 && (c < ' ' || c == 0x7f))
		snprintf(esc, sizeof esc, json ? "\\u%04x" : "\\x%02x", (unsigned)c);
	else if (n > 1 && hidden(c))
		snprintf(esc, sizeof esc, "\\u%04x", (unsigned)c);
	else {
		put(l, s, n);
		return;
	}
	put_text(l, esc);
}

static void put_string(struct line *l, const char *s, bool json)
{
	bool quotes = json || needs_quotes(s);
	if (quotes)
		put(l, "\"", 1);
	if (l->full)
		return; /* not even begun: the caller takes the attribute back */
	while (*s && !l->full) {
		uint32_t c = 0;
		size_t n = utf8(s, &c);
		if (quotes)
			put_char(l, s, n, c, json);
		else
			put(l, s, n);
		s += n ? n : 1;
	}
	if (l->full)
		put_end(l, "…");
	if (quotes)
		put_end(l, "\"");
}

/* As Go prints a duration: 0s, 12ms, 1.5s, 2m3s, 1h0m0.25s. */
static void duration_text(char *buf, size_t size, int64_t ms)
{
	uint64_t v = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
	const char *sign = ms < 0 ? "-" : "";
	unsigned long long s = v / 1000, h = s / 3600, m = s / 60 % 60;
	char fraction[8] = "";
	if (v == 0) {
		snprintf(buf, size, "0s");
		return;
	}
	if (v < 1000) {
		snprintf(buf, size, "%s%ums", sign, (unsigned)v);
		return;
	}
	if (v % 1000) {
		int n = snprintf(fraction, sizeof fraction, ".%03u", (unsigned)(v % 1000));
		while (fraction[n - 1] == '0')
			fraction[--n] = 0;
	}
	if (h)
		snprintf(buf, size, "%s%lluh%llum%llu%ss", sign, h, m, s % 60, fraction);
	else if (m)
		snprintf(buf, size, "%s%llum%llu%ss", sign, m, s % 60, fraction);
	else
		snprintf(buf, size, "%s%llu%ss", sign, s, fraction);
}

static void put_value(struct line *l, const struct log_attr *a, bool json)
{
	char number[48];
	int64_t ns;
	switch (a->type) {
	case LOG_A_STR:
		put_string(l, a->str ? a->str : "", json);
		return;
	case LOG_A_INT:
		snprintf(number, sizeof number, "%lld", (long long)a->num);
		break;
	case LOG_A_MS:
		if (!json)
			duration_text(number, sizeof number, a->num);
		else if (__builtin_mul_overflow(a->num, 1000000, &ns))
			snprintf(number, sizeof number, "%lld",
				 (long long)(a->num < 0 ? INT64_MIN : INT64_MAX));
		else
			snprintf(number, sizeof number, "%lld", (long long)ns);
		break;
	}
	put_text(l, number);
}

/* The whole attribute or nothing, except that a string may be cut. */
static void put_attr(struct line *l, const struct log_attr *a, bool json)
{
	size_t start = l->n;
	put(l, json ? "," : " ", 1);
	put_string(l, a->key, json);
	if (l->full) { /* a cut key means nothing */
		l->n = start;
		return;
	}
	put(l, json ? ":" : "=", 1);
	size_t value = l->n;
	put_value(l, a, json);
	if (l->full && l->n == value)
		l->n = start;
}

/* JOURNAL_STREAM is DEVICE:INODE of what the service manager connected us with. */
static bool look_for_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;
	return text && sscanf(text, "%llu:%llu", &dev, &ino) == 2 && fstat(config.fd, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

static bool to_journal(void)
{
	if (config.journal < 0)
		config.journal = look_for_journal();
	return config.journal;
}

static const struct {
	const char *name, *priority;
} levels[] = {
	[LOG_DEBUG] = { "DEBUG", "<7>" },
	[LOG_INFO] = { "INFO", "<6>" },
	[LOG_WARN] = { "WARN", "<4>" },
	[LOG_ERROR] = { "ERROR", "<3>" },
};

static void put_head(struct line *l, enum log_level level, const char *msg, bool json)
{
	char time[TIME_TEXT_BYTES];
	l->n = 0;
	l->full = false;
	time_format(time, wall_us(), json ? 6 : 3);
	if (!json && to_journal())
		put_text(l, levels[level].priority);
	put_text(l, json ? "{\"time\":\"" : "time=");
	put_text(l, time);
	put_text(l, json ? "\",\"level\":\"" : " level=");
	put_text(l, levels[level].name);
	put_text(l, json ? "\",\"msg\":" : " msg=");
	put_string(l, msg, json);
}

static void write_out(struct line *l, bool json)
{
	ssize_t rc;
	put_end(l, json ? "}\n" : "\n");
	do
		rc = write(config.fd, l->b, l->n);
	while (rc < 0 && errno == EINTR);
}

/* ---- what repeats ---- */

static uint64_t key_of(const char *msg, const struct log_attr *attrs, unsigned long n)
{
	uint64_t key = repeat_key(0, msg);
	for (unsigned long i = 0; i < n; i++) {
		if (attrs[i].type != LOG_A_STR)
			continue;
		key = repeat_key(key, attrs[i].key);
		key = repeat_key(key, attrs[i].str ? attrs[i].str : "");
	}
	return key;
}

/* A slot keeps the message, a zero byte, and as many whole attributes, ready to be written, as find room. */
static void keep_text(struct repeat *slot, const char *msg, const char *attrs, size_t n)
{
	size_t at = strnlen(msg, sizeof slot->text / 2);
	memcpy(slot->text, msg, at);
	slot->text[at++] = 0;
	memcpy(slot->text + at, attrs, n);
	slot->text[at + n] = 0;
}

static size_t room_for(const char *msg)
{
	return REPEAT_TEXT_BYTES - 2 - strnlen(msg, REPEAT_TEXT_BYTES / 2);
}

static void write_last(const struct repeat *p)
{
	struct line l;
	char msg[REPEAT_TEXT_BYTES], last[TIME_TEXT_BYTES];
	bool json = config.json;
	snprintf(msg, sizeof msg, "last of a series: %.*s", REPEAT_TEXT_BYTES / 2, p->text);
	time_format(last, wall_us() - (mono_us() - p->seen_us), 0);
	const struct log_attr more[] = { L_I("repeated", p->unsaid), L_S("last", last) };
	put_head(&l, LOG_INFO, msg, json);
	put_text(&l, p->text + strlen(p->text) + 1);
	put_attr(&l, &more[0], json);
	put_attr(&l, &more[1], json);
	write_out(&l, json);
}

void log_flush(void)
{
	struct repeat over;
	int saved = errno;
	pthread_mutex_lock(&repeats_lock);
	while (config.collapse && repeat_over(&repeats, mono_us(), true, &over))
		write_last(&over);
	pthread_mutex_unlock(&repeats_lock);
	errno = saved;
}

/* false: it is one of a series and not written now. */
static bool comes_now(const char *msg, const struct log_attr *attrs, unsigned long n, struct repeat **ret_slot,
		      uint64_t *ret_unsaid)
{
	struct repeat lost;
	bool now = repeat_comes(&repeats, key_of(msg, attrs, n), mono_us(), ret_slot, ret_unsaid, &lost);
	if (lost.key)
		write_last(&lost);
	return now;
}

static void write_line(enum log_level level, const char *msg, const struct log_attr *attrs, unsigned long n,
		       uint64_t unsaid, struct repeat *slot)
{
	struct line l;
	bool json = config.json;
	put_head(&l, level, msg, json);
	size_t begin = l.n, whole = 0;
	for (unsigned long i = 0; i < n && !l.full; i++) {
		put_attr(&l, &attrs[i], json);
		if (!l.full && l.n - begin <= room_for(msg))
			whole = l.n - begin;
	}
	if (slot)
		keep_text(slot, msg, l.b + begin, whole);
	const struct log_attr repeated = L_I("repeated", unsaid);
	if (unsaid && !l.full)
		put_attr(&l, &repeated, json);
	write_out(&l, json);
}

void log_write(enum log_level level, const char *msg, const struct log_attr *attrs, unsigned long n)
{
	int saved = errno;
	if (!config.collapse) {
		write_line(level, msg, attrs, n, 0, NULL);
	} else {
		struct repeat *slot = NULL, over;
		uint64_t unsaid = 0;
		pthread_mutex_lock(&repeats_lock);
		while (repeat_over(&repeats, mono_us(), false, &over))
			write_last(&over);
		if (level < LOG_WARN || comes_now(msg, attrs, n, &slot, &unsaid))
			write_line(level, msg, attrs, n, unsaid, slot);
		pthread_mutex_unlock(&repeats_lock);
	}
	errno = saved;
}
