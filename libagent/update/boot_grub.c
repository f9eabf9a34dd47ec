/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "grub": GRUB environment blocks. GRUB finds the file's sectors when it boots and writes them in place, and it does not
 * replay a file system's journal; so we write in place as well, which needs no change of metadata. One block written in
 * place may be torn, so there are two, CONFIG.0 and CONFIG.1, and both we and grub.cfg write the older one, whole:
 *
 *   agent_seq in its first sector and agent_end in its second are the same number, 0, 1, 2, 0, ... (GRUB's shell cannot
 *   count further): sectors of different age do not agree. Block 1 is the newer one if its number follows that of block 0.
 *   Every variable has its sector and no line crosses over, so that even a torn block is whole lines, each once, and
 *   GRUB can write its next state over it. What GRUB changes in the first sector keeps its length.
 *
 * Variables and grub.cfg: docs/design/update.md, examples/boot/grub.cfg. "booted" stays empty, as with "uboot".
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/macro.h"
#include "update/boot.h"

#define BLOCK_SIZE 1024 /* grub-editenv makes no other, grub.cfg cannot ask for one */
#define BLOCK_SIGNATURE "# GRUB Environment Block\n"
#define SECTOR_SIZE 512
#define COPIES 2
#define SEQUENCE 3

#define NAME_SEQ "agent_seq"
#define NAME_END "agent_end"
#define NAME_ORDER "agent_order"

static const struct boot_variable variables[] = {
	/* first sector */
	{ "agent_good_", "", BOOT_GOOD },
	{ "agent_left_", "", BOOT_TRIES },
	/* second sector */
	{ "agent_security_version_", "", BOOT_SECURITY_VERSION },
	{ "agent_release_", "", BOOT_RELEASE },
	{ "agent_version_", "", BOOT_VERSION },
};

#define N_FIRST 2

struct block {
	int result;	/* of reading: 0, -ENOENT, -EBADMSG, -errno */
	unsigned seq;
	char data[BLOCK_SIZE];
};

/* "name=value\n" as stored, or a comment (n_name 0). */
struct line {
	const char *text;
	size_t n, n_name;
};

/* 1, 0 where the padding begins, -EBADMSG. Source: grub-core/lib/envblk.c; a backslash takes away the next byte's meaning. */
static int line_next(const struct block *block, size_t *pos, struct line *ret_line)
{
	size_t i = *pos, n_name = 0;
	bool is_comment = i < BLOCK_SIZE && block->data[i] == '#';

	for (; i < BLOCK_SIZE; i++) {
		char c = block->data[i];

		if (c == '\0')
			return -EBADMSG;
		if (c == '=' && n_name == 0 && !is_comment)
			n_name = i - *pos;
		if (c == '\n')
			break;
		if (c == '\\' && !is_comment)
			i++;
	}
	if (i >= BLOCK_SIZE)
		return is_comment || *pos == BLOCK_SIZE ? 0 : -EBADMSG;
	if (n_name == 0 && !is_comment)
		return -EBADMSG;
	*ret_line = (struct line){ block->data + *pos, i + 1 - *pos, n_name };
	*pos = i + 1;
	return 1;
}

static bool line_is(const struct line *line, const char *name, size_t n_name)
{
	return line->n_name == n_name && memcmp(line->text, name, n_name) == 0;
}

/* False if there is none; @ret_value cut to @size. */
static bool value_get(const struct block *block, const char *name, char *ret_value, size_t size)
{
	size_t pos = strlen(BLOCK_SIGNATURE);
	struct line line;

	while (line_next(block, &pos, &line) > 0)
		if (line_is(&line, name, strlen(name))) {
			snprintf(ret_value, size, "%.*s", (int)(line.n - line.n_name - 2), line.text + line.n_name + 1);
			return true;
		}
	return false;
}

static int block_check(struct block *block)
{
	size_t pos = strlen(BLOCK_SIGNATURE);
	char seq[4] = "", end[4] = "";
	struct line line;
	int r;

	if (memcmp(block->data, BLOCK_SIGNATURE, pos) != 0)
		return -EBADMSG;
	while ((r = line_next(block, &pos, &line)) > 0)
		;
	for (; r == 0 && pos < BLOCK_SIZE; pos++)
		if (block->data[pos] != '#')
			return -EBADMSG;
	if (r < 0 || !value_get(block, NAME_SEQ, seq, sizeof(seq)) || !value_get(block, NAME_END, end, sizeof(end)))
		return -EBADMSG;
	if (seq[0] < '0' || seq[0] >= '0' + SEQUENCE || seq[1] != '\0' || strcmp(seq, end) != 0)
		return -EBADMSG;
	block->seq = (unsigned)(seq[0] - '0');
	return 0;
}

static int copy_name(const char *config, unsigned copy, char **ret_path)
{
	return asprintf(ret_path, "%s.%u", config, copy) < 0 ? -ENOMEM : 0;
}

static void block_read(const char *config, unsigned copy, struct block *ret_block)
{
	_cleanup_free_ char *data = NULL, *path = NULL;
	size_t size = 0;

	*ret_block = (struct block){ .result = copy_name(config, copy, &path) };
	if (ret_block->result == 0)
		ret_block->result = file_read_at(AT_FDCWD, path, BLOCK_SIZE, &data, &size, NULL);
	if (ret_block->result == -EMSGSIZE || (ret_block->result == 0 && size != BLOCK_SIZE))
		ret_block->result = -EBADMSG;
	if (ret_block->result < 0)
		return;
	memcpy(ret_block->data, data, BLOCK_SIZE);
	ret_block->result = block_check(ret_block);
}

/* Both blocks, and which is the newer valid one. grub.cfg makes the same choice. */
static int blocks_read(const char *config, struct block ret_blocks[COPIES], unsigned *ret_newest, struct agent_error **err)
{
	struct block *b = ret_blocks;

	for (unsigned i = 0; i < COPIES; i++)
		block_read(config, i, &b[i]);
	for (unsigned i = 0; i < COPIES; i++)
		if (b[i].result < 0 && b[i].result != -ENOENT && b[i].result != -EBADMSG)
			return agent_error_set(err, b[i].result, "boot.read", "cannot read the GRUB environment block %s.%u: %s", config, i, strerror(-b[i].result));
	if (b[0].result == -ENOENT && b[1].result == -ENOENT)
		return agent_error_set(err, -ENOENT, "boot.missing", "there are no GRUB environment blocks %s.0 and %s.1", config, config);
	if (b[0].result < 0 && b[1].result < 0)
		return agent_error_set(err, -EBADMSG, "boot.format", "neither of the GRUB environment blocks %s.0 and %s.1 is whole", config, config);
	if (b[0].result == 0 && b[1].result == 0)
		*ret_newest = b[1].seq == (b[0].seq + 1) % SEQUENCE;
	else
		*ret_newest = b[1].result == 0;
	return 0;
}

static int state_get(const struct block *block, struct boot_state *ret_state, struct agent_error **err)
{
	char value[2 * BOOT_VALUE_MAX], name[BOOT_VARIABLE_MAX];
	struct boot_state state;

	if (!value_get(block, NAME_ORDER, value, sizeof(value)) || boot_order_parse(value, &state) < 0)
		return agent_error_set(err, -EBADMSG, "boot.format", "GRUB environment block: %s is not one or two slot names", NAME_ORDER);
	for (size_t i = 0; i < state.n_slots; i++)
		for (size_t k = 0; k < ARRAY_SIZE(variables); k++) {
			boot_variable_name(&variables[k], state.slots[i].name, name);
			if (boot_value_parse(&state.slots[i], &variables[k], value_get(block, name, value, sizeof(value)) ? value : NULL) < 0)
				return agent_error_set(err, -EBADMSG, "boot.format", "GRUB environment block: the value of %s is not valid", name);
		}
	*ret_state = state;
	return 0;
}

static int grub_load(const char *config, struct boot_state *ret_state, struct agent_error **err)
{
	struct block blocks[COPIES];
	unsigned newest = 0;
	int r = blocks_read(config, blocks, &newest, err);

	return r < 0 ? r : state_get(&blocks[newest], ret_state, err);
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

/* A block under way: filled with '#', so that it can be read at any time. */
struct draft {
	struct block *block;
	size_t pos, limit;
};

static bool put_text(struct draft *to, const char *text, size_t n)
{
	if (n > to->limit - to->pos)
		return false;
	memcpy(to->block->data + to->pos, text, n);
	to->pos += n;
	return true;
}

static bool put_variable(struct draft *to, const char *name, const char *value)
{
	char line[BOOT_VARIABLE_MAX + BOOT_VALUE_MAX + 2];

	return put_text(to, line, (size_t)snprintf(line, sizeof(line), "%s=%s\n", name, value));
}

static bool put_slots(struct draft *to, const struct boot_state *state, size_t from, size_t end)
{
	char name[BOOT_VARIABLE_MAX], value[BOOT_VALUE_MAX];

	for (size_t i = 0; i < state->n_slots; i++)
		for (size_t k = from; k < end; k++) {
			boot_variable_name(&variables[k], state->slots[i].name, name);
			boot_value_print(&state->slots[i], &variables[k], value);
			if (!put_variable(to, name, value))
				return false;
		}
	return true;
}

static bool block_has(const struct block *block, const struct line *wanted)
{
	size_t pos = strlen(BLOCK_SIGNATURE);
	struct line line;

	while (line_next(block, &pos, &line) > 0)
		if (line_is(&line, wanted->text, wanted->n_name))
			return true;
	return false;
}

/* Does this line belong to others? Comments of '#' alone fill up our sectors. */
static bool is_foreign(const struct line *line, const struct boot_state *state)
{
	char name[BOOT_VARIABLE_MAX];

	if (line->n_name == 0)
		return strspn(line->text, "#") + 1 < line->n;
	if (line_is(line, NAME_SEQ, strlen(NAME_SEQ)) || line_is(line, NAME_END, strlen(NAME_END)) || line_is(line, NAME_ORDER, strlen(NAME_ORDER)))
		return false;
	for (size_t i = 0; i < state->n_slots; i++)
		for (size_t k = 0; k < ARRAY_SIZE(variables); k++) {
			boot_variable_name(&variables[k], state->slots[i].name, name);
			if (line_is(line, name, strlen(name)))
				return false;
		}
	return true;
}

/* Lines of other programs that are not there yet, into the first sector if there is room; @newest: with comments. */
static bool put_foreign(struct draft *first, struct draft *second, const struct boot_state *state, const struct block *from, bool is_newest)
{
	size_t at = strlen(BLOCK_SIGNATURE);
	struct line line;

	while (line_next(from, &at, &line) > 0) {
		if (!is_foreign(&line, state) || (line.n_name == 0 && !is_newest) || (line.n_name > 0 && block_has(first->block, &line)))
			continue;
		if (!put_text(first, line.text, line.n) && !put_text(second, line.text, line.n))
			return false;
	}
	return true;
}

/* @newest and @older: blocks whose foreign lines are kept, or NULL. */
static bool block_make(struct block *ret_block, const struct boot_state *state, unsigned seq, const struct block *newest, const struct block *older)
{
	/* One byte less: the newline after the filling. */
	struct draft first = { ret_block, 0, SECTOR_SIZE - 1 }, second = { ret_block, SECTOR_SIZE, BLOCK_SIZE };
	char value[BOOT_VALUE_MAX], number[4];

	memset(ret_block->data, '#', BLOCK_SIZE);
	ret_block->data[SECTOR_SIZE - 1] = '\n';
	snprintf(number, sizeof(number), "%u", seq % SEQUENCE);
	boot_order_print(state, value);
	return put_text(&first, BLOCK_SIGNATURE, strlen(BLOCK_SIGNATURE)) && put_variable(&first, NAME_SEQ, number) &&
	       put_variable(&first, NAME_ORDER, value) && put_slots(&first, state, 0, N_FIRST) &&
	       put_slots(&second, state, N_FIRST, ARRAY_SIZE(variables)) && (newest == NULL || put_foreign(&first, &second, state, newest, true)) &&
	       (older == NULL || put_foreign(&first, &second, state, older, false)) && put_variable(&second, NAME_END, number);
}

/* In place where there is a block; a file that is missing or has another size holds nothing to lose and is replaced. */
static int block_write(const char *config, unsigned copy, const struct block *block, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	if (copy_name(config, copy, &path) < 0)
		return agent_error_set(err, -ENOMEM, "boot.write", "no memory for the GRUB environment block");
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno != ENOENT)
		return agent_error_set(err, -errno, "boot.write", "cannot open the GRUB environment block %s: %s", path, strerror(errno));
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != BLOCK_SIZE) {
		r = file_replace_at(AT_FDCWD, path, 0644, block->data, BLOCK_SIZE, &why);
		return r < 0 ? agent_error_set(err, r, "boot.write", "GRUB environment block: %s", agent_error_message(why)) : 0;
	}
	r = pwrite_all(fd, block->data, BLOCK_SIZE, 0);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	return r < 0 ? agent_error_set(err, r, "boot.write", "cannot write the GRUB environment block %s: %s", path, strerror(-r)) : 0;
}

static int grub_store(const char *config, const struct boot_state *state, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	struct block blocks[COPIES], next;
	unsigned newest = 1, seq = 0;
	struct boot_state now;
	bool is_first;
	int r;

	r = boot_names_check(state, err);
	if (r < 0)
		return r;
	r = blocks_read(config, blocks, &newest, &why);
	is_first = r == -ENOENT;
	if (r < 0 && !is_first)
		return agent_error_move(err, &why);
	if (!is_first)
		seq = blocks[newest].seq + 1;
	if (!block_make(&next, state, seq, is_first ? NULL : &blocks[newest], blocks[!newest].result == 0 ? &blocks[!newest] : NULL))
		return agent_error_set(err, -ENOSPC, "boot.write", "the GRUB environment block %s has %d bytes, that is not enough", config, BLOCK_SIZE);
	r = block_write(config, !newest, &next, err);
	/* GRUB cannot make the second file. */
	if (r == 0 && is_first && block_make(&next, state, seq + 1, NULL, NULL))
		r = block_write(config, newest, &next, err);
	if (r == 0)
		r = grub_load(config, &now, err);
	if (r == 0 && !boot_state_is_equal(&now, state))
		r = agent_error_set(err, -EIO, "boot.write", "the GRUB environment block %s does not hold what was written", config);
	return r;
}

static int grub_paths(const char *config, agent_update_path_fn fn, void *userdata, struct agent_error **err)
{
	int r = 0;

	/* The folder, which may hold grub.cfg, only until both files are there. */
	for (unsigned i = 0; i < COPIES && r >= 0; i++) {
		_cleanup_free_ char *path = NULL;

		if (copy_name(config, i, &path) < 0)
			return agent_error_set(err, -ENOMEM, "boot.read", "no memory for the path of the GRUB environment block");
		if (access(path, F_OK) < 0)
			return boot_paths_folder(config, fn, userdata, err);
		r = fn(userdata, path, AGENT_UPDATE_PATH_READ | AGENT_UPDATE_PATH_WRITE, err);
	}
	return r;
}

const struct boot_backend boot_grub = { .name = "grub", .load = grub_load, .store = grub_store, .paths = grub_paths };
