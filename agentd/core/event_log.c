/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/event_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"

#define FILE_NOW "events.log"
#define FILE_OLD "events.1.log"
#define FILE_BAD "events.bad"
#define HEADER "libagent-events 1"
#define HASH_HEX 64

struct event_log {
	int dir_fd;
	int fd;
	size_t size;	 /* bytes of complete lines in events.log */
	size_t file_max;
	uint64_t last_seq;
	char last_hash[HASH_HEX + 1];
};

/* Where a walk over one file stands. */
struct walk {
	uint64_t next_seq;
	char hash[HASH_HEX + 1];
	size_t good_size;   /* bytes up to the end of the last line that chains */
	size_t n_bad_lines; /* lines after that */
	bool is_torn;	    /* the file ends without a newline */
};

typedef int (*line_fn)(char *line, void *userdata);

static int chain_hash(const char *before, const char *line, size_t size, char ret_hex[HASH_HEX + 1])
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(md, before, HASH_HEX) == 1 &&
		 EVP_DigestUpdate(md, line, size) == 1 && EVP_DigestFinal_ex(md, digest, &n) == 1;

	EVP_MD_CTX_free(md);
	if (!ok || n * 2 != HASH_HEX)
		return -ENOMEM;
	hex_encode(digest, n, ret_hex);
	return 0;
}

static int parse_u64(const char *text, char end, const char **ret_next, uint64_t *ret_value)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; text[i] >= '0' && text[i] <= '9'; i++) {
		if (i == 19)
			return -EBADMSG;
		v = v * 10 + (uint64_t)(text[i] - '0');
	}
	if (i == 0 || text[i] != end)
		return -EBADMSG;
	*ret_next = text + i + (end != '\0');
	*ret_value = v;
	return 0;
}

/* First line: sets where the chain starts. */
static int parse_header(const char *line, struct walk *w)
{
	size_t n = strlen(HEADER);
	const char *p;

	if (strncmp(line, HEADER "\t", n + 1) != 0 || parse_u64(line + n + 1, '\t', &p, &w->next_seq) < 0 || strlen(p) != HASH_HEX ||
	    strspn(p, "0123456789abcdef") != HASH_HEX)
		return -EBADMSG;
	memcpy(w->hash, p, HASH_HEX + 1);
	return 0;
}

static int check_line(const char *line, size_t size, struct walk *w)
{
	char hash[HASH_HEX + 1];
	const char *last = memrchr(line, '\t', size);
	const char *p;
	uint64_t seq;

	if (last == NULL || size - (size_t)(last + 1 - line) != HASH_HEX || parse_u64(line, '\t', &p, &seq) < 0 || seq != w->next_seq)
		return -EBADMSG;
	if (chain_hash(w->hash, line, (size_t)(last - line), hash) < 0)
		return -ENOMEM;
	if (memcmp(hash, last + 1, HASH_HEX) != 0)
		return -EBADMSG;
	memcpy(w->hash, hash, sizeof(hash));
	w->next_seq++;
	return 0;
}

/* Check a file's lines in order. Only memory shortage is an error; what does not chain is reported in *w. */
static int walk_file(char *data, size_t size, struct walk *w, line_fn fn, void *userdata)
{
	size_t pos = 0;
	bool is_first = true;
	int r;

	*w = (struct walk){ 0 };
	while (pos < size) {
		char *line = data + pos;
		char *end = memchr(line, '\n', size - pos);

		if (end == NULL) {
			w->is_torn = true;
			break;
		}
		*end = '\0';
		r = w->n_bad_lines > 0 ? -EBADMSG : strlen(line) != (size_t)(end - line) ? -EBADMSG :
		    is_first ? parse_header(line, w) : check_line(line, (size_t)(end - line), w);
		if (r == -ENOMEM)
			return r;
		pos = (size_t)(end + 1 - data);
		if (r < 0) {
			w->n_bad_lines++;
			continue;
		}
		w->good_size = pos;
		if (!is_first && fn != NULL) {
			r = fn(line, userdata);
			if (r != 0)
				return r;
		}
		is_first = false;
	}
	return 0;
}

static int start_file(struct event_log *log, struct agent_error **err)
{
	char header[128];
	int n = snprintf(header, sizeof(header), HEADER "\t%" PRIu64 "\t%s\n", log->last_seq + 1, log->last_hash);
	int r;

	r = file_replace_at(log->dir_fd, FILE_NOW, 0600, header, (size_t)n, err);
	if (r < 0)
		return r;
	if (log->fd >= 0)
		close(log->fd);
	log->fd = openat(log->dir_fd, FILE_NOW, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	if (log->fd < 0)
		return agent_error_set(err, -errno, "events.open", "cannot open the event log %s: %s", FILE_NOW, strerror(errno));
	log->size = (size_t)n;
	return 0;
}

static int rename_log(struct event_log *log, const char *to, struct agent_error **err)
{
	if (renameat(log->dir_fd, FILE_NOW, log->dir_fd, to) < 0)
		return agent_error_set(err, -errno, "events.rotate", "cannot rename %s to %s: %s", FILE_NOW, to, strerror(errno));
	return dir_sync(log->dir_fd, err);
}

/* The sequence goes on after the older file, whatever happened to the newer one. */
static int continue_after_old(struct event_log *log, struct event_log_found *found)
{
	_cleanup_free_ char *data = NULL;
	struct walk w;
	size_t size = 0;
	int r;

	memset(log->last_hash, '0', HASH_HEX);
	log->last_seq = 0;
	r = file_read_at(log->dir_fd, FILE_OLD, log->file_max + EVENT_LINE_MAX, &data, &size, NULL);
	if (r < 0) {
		found->was_broken |= r != -ENOENT;
		return 0;
	}
	r = walk_file(data, size, &w, NULL, NULL);
	if (r < 0)
		return r;
	if (w.good_size == 0 || w.n_bad_lines > 0)
		found->was_broken = true;
	if (w.good_size > 0) {
		log->last_seq = w.next_seq - 1;
		memcpy(log->last_hash, w.hash, sizeof(w.hash));
	}
	return 0;
}

static int open_current(struct event_log *log, struct event_log_found *found, struct agent_error **err)
{
	_cleanup_free_ char *data = NULL;
	struct walk w;
	size_t size = 0;
	int r;

	r = file_read_at(log->dir_fd, FILE_NOW, log->file_max + EVENT_LINE_MAX, &data, &size, NULL);
	if (r == -ENOENT)
		return start_file(log, err); /* first start, or a power cut between the two steps of a rotation */
	if (r < 0 && r != -EMSGSIZE)
		return agent_error_set(err, r, "events.open", "cannot read the event log %s: %s", FILE_NOW, strerror(-r));
	if (r == 0) {
		r = walk_file(data, size, &w, NULL, NULL);
		if (r < 0)
			return agent_error_set(err, r, "events.open", "no memory to read the event log");
		/* Only the very last line may be incomplete; with delayed allocation it may also have become zeros. */
		if (w.good_size > 0 && w.n_bad_lines <= (w.is_torn ? 0 : 1)) {
			log->last_seq = w.next_seq - 1;
			memcpy(log->last_hash, w.hash, sizeof(w.hash));
			log->size = w.good_size;
			log->fd = openat(log->dir_fd, FILE_NOW, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
			if (log->fd < 0)
				return agent_error_set(err, -errno, "events.open", "cannot open the event log %s: %s", FILE_NOW,
						       strerror(errno));
			if (w.good_size < size) {
				found->was_torn = true;
				if (ftruncate(log->fd, (off_t)w.good_size) < 0 || fsync(log->fd) < 0)
					return agent_error_set(err, -errno, "events.open", "cannot cut off the torn end of %s: %s",
							       FILE_NOW, strerror(errno));
			}
			return 0;
		}
		if (w.good_size > 0 && w.next_seq > log->last_seq + 1)
			log->last_seq = w.next_seq - 1;
	}
	found->was_broken = true;
	r = rename_log(log, FILE_BAD, err);
	return r < 0 ? r : start_file(log, err);
}

int event_log_open(int dir_fd, size_t file_max, struct event_log **ret_log, struct event_log_found *ret_found,
		   struct agent_error **err)
{
	struct event_log_found found = { false, false };
	struct event_log *log = calloc(1, sizeof(*log));
	int r;

	if (log == NULL)
		return agent_error_set(err, -ENOMEM, "events.open", "no memory for the event log");
	log->dir_fd = dir_fd;
	log->fd = -1;
	log->file_max = file_max;
	r = continue_after_old(log, &found);
	if (r < 0)
		agent_error_set(err, r, "events.open", "no memory to read the event log");
	else
		r = open_current(log, &found, err);
	if (r < 0) {
		event_log_free(log);
		return r;
	}
	*ret_log = log;
	*ret_found = found;
	return 0;
}

struct event_log *event_log_free(struct event_log *log)
{
	if (log == NULL)
		return NULL;
	if (log->fd >= 0)
		close(log->fd);
	free(log);
	return NULL;
}

uint64_t event_log_last_seq(const struct event_log *log)
{
	return log->last_seq;
}

/* At most EVENT_VALUE_MAX bytes of @value; at most 4 times as many after escaping. */
static size_t escape(const char *value, char *out)
{
	size_t n = 0;

	for (size_t i = 0; value[i] != '\0' && i < EVENT_VALUE_MAX; i++) {
		unsigned char c = (unsigned char)value[i];

		if (c >= 0x20 && c < 0x7f && c != '\\')
			out[n++] = (char)c;
		else
			n += (size_t)sprintf(out + n, "\\x%02x", c);
	}
	out[n] = '\0';
	return n;
}

static void unescape(char *text)
{
	char *out = text;

	while (*text != '\0') {
		uint8_t byte;

		if (text[0] == '\\' && text[1] == 'x' && strlen(text) >= 4 && hex_decode(text + 2, 2, &byte, 1) == 0 && byte != 0) {
			*out++ = (char)byte;
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = '\0';
}

int event_log_append(struct event_log *log, enum event_id id, uint64_t time_s, const char *const (*fields)[2], size_t n_fields,
		     uint64_t *ret_seq, struct agent_error **err)
{
	char line[EVENT_LINE_MAX];
	char hash[HASH_HEX + 1];
	size_t n;
	int r;

	n = (size_t)snprintf(line, sizeof(line), "%" PRIu64 "\t%" PRIu64 "\t%s", log->last_seq + 1, time_s, event_types[id].name);
	for (size_t i = 0; i < n_fields && i < ARRAY_SIZE(((struct event_record *)0)->fields); i++) {
		char value[EVENT_VALUE_MAX * 4 + 1];
		size_t k = strlen(fields[i][0]);
		size_t v = escape(fields[i][1], value);

		if (n + k + v + 2 + HASH_HEX + 2 > sizeof(line))
			break; /* the event matters more than its last fields */
		n += (size_t)sprintf(line + n, "\t%s=%s", fields[i][0], value);
	}
	r = chain_hash(log->last_hash, line, n, hash);
	if (r < 0)
		return agent_error_set(err, r, "events.write", "no memory for an event");
	n += (size_t)sprintf(line + n, "\t%s\n", hash);
	if (log->size + n > log->file_max) {
		r = event_log_sync(log, err);
		if (r >= 0)
			r = rename_log(log, FILE_OLD, err);
		if (r >= 0)
			r = start_file(log, err);
		if (r < 0)
			return r;
	}
	r = write_all(log->fd, line, n);
	if (r < 0) {
		if (ftruncate(log->fd, (off_t)log->size) < 0)
			return agent_error_set(err, r, "events.write", "event log: %s; and its torn end stays until the next start",
					       strerror(-r));
		return agent_error_set(err, r, "events.write", "cannot write to the event log: %s", strerror(-r));
	}
	log->size += n;
	log->last_seq++;
	memcpy(log->last_hash, hash, sizeof(hash));
	if (ret_seq != NULL)
		*ret_seq = log->last_seq;
	return 0;
}

int event_log_sync(struct event_log *log, struct agent_error **err)
{
	if (fdatasync(log->fd) < 0)
		return agent_error_set(err, -errno, "events.sync", "cannot sync the event log: %s", strerror(errno));
	return 0;
}

struct read_state {
	uint64_t after_seq;
	int (*fn)(const struct event_record *record, void *userdata);
	void *userdata;
};

static int read_line(char *line, void *userdata)
{
	struct read_state *state = userdata;
	struct event_record record = { 0 };
	char *save = NULL, *last, *part;
	const char *p;

	if (parse_u64(line, '\t', &p, &record.seq) < 0 || record.seq <= state->after_seq)
		return 0;
	last = strrchr(line, '\t');
	if (last == NULL || parse_u64(p, '\t', &p, &record.time_s) < 0)
		return 0;
	*last = '\0';
	part = strtok_r(line + (p - line), "\t", &save);
	if (part == NULL)
		return 0;
	record.name = part;
	for (size_t i = 0; i < EVENT_COUNT_; i++)
		if (strcmp(event_types[i].name, part) == 0)
			record.type = &event_types[i];
	while ((part = strtok_r(NULL, "\t", &save)) != NULL && record.n_fields < ARRAY_SIZE(record.fields)) {
		char *equals = strchr(part, '=');

		if (equals == NULL)
			continue;
		*equals = '\0';
		unescape(equals + 1);
		record.fields[record.n_fields].key = part;
		record.fields[record.n_fields++].value = equals + 1;
	}
	return state->fn(&record, state->userdata);
}

int event_log_read(struct event_log *log, uint64_t after_seq, int (*fn)(const struct event_record *record, void *userdata),
		   void *userdata, struct agent_error **err)
{
	static const char *const files[] = { FILE_OLD, FILE_NOW };
	struct read_state state = { after_seq, fn, userdata };

	if (after_seq >= log->last_seq)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *data = NULL;
		struct walk w;
		size_t size = 0;
		int r = file_read_at(log->dir_fd, files[i], log->file_max + EVENT_LINE_MAX, &data, &size, err);

		if (r == -ENOENT && i == 0) {
			if (err != NULL)
				*err = agent_error_free(*err);
			continue;
		}
		if (r < 0)
			return r;
		r = walk_file(data, size, &w, read_line, &state);
		if (r == -ENOMEM)
			return agent_error_set(err, r, "events.read", "no memory to read the event log");
		if (r != 0)
			return r;
	}
	return 0;
}
