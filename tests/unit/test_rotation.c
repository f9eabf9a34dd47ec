/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a rotation, cut off anywhere, and what agentd-link makes of its attempts. */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>

#include "agentd/core/key_rights.h"
#include "agentd/core/rotation.h"
#include "base/file.h"

#define META "version 1\nsrk 000b00\nname 000b%s\ncreated 1\npurposes tls-client csr\ncaller %s tls-client\n"

struct world {
	struct temp_dir dir;
	struct agent_error *err;
	struct rotation r;
};

static void put(struct world *w, const char *name, const char *text)
{
	assert_int_equal(file_replace_at(w->dir.fd, name, 0600, text, strlen(text), NULL), 0);
}

static void assert_file(struct world *w, const char *name, const char *want)
{
	char *text = NULL;
	size_t n;
	int r = file_read_at(w->dir.fd, name, 4096, &text, &n, NULL);

	if (want == NULL) {
		if (r != -ENOENT)
			fail_msg("%s is there", name);
	} else if (r < 0 || strcmp(text, want) != 0) {
		fail_msg("%s: %s instead of %s", name, r < 0 ? "missing" : text, want);
	}
	free(text);
}

static unsigned count_next(struct world *w)
{
	DIR *dir = opendir(w->dir.path);
	struct dirent *entry;
	unsigned n = 0;

	while ((entry = readdir(dir)) != NULL)
		n += strstr(entry->d_name, ".next") != NULL;
	closedir(dir);
	return n;
}

static void put_old(struct world *w)
{
	char meta[256];

	put(w, "device.pem", "old pem");
	put(w, "device.auth", "old auth");
	snprintf(meta, sizeof(meta), META, "11", "program:link");
	put(w, "device.meta", meta);
}

static void put_next(struct world *w)
{
	char meta[256];

	put(w, "device.next.pem", "new pem");
	put(w, "device.next.auth", "new auth");
	snprintf(meta, sizeof(meta), META, "22", "program:fetch");
	put(w, "device.next.meta", meta);
	put(w, "device.next.csr", "request");
	put(w, "device.next.crt", "new crt");
}

/* As far as the trial. */
static void to_proving(struct world *w)
{
	assert_int_equal(rotation_begin(w->dir.fd, "device", AGENT_KEY_EC_P384, false, &w->r, &w->err), 0);
	put_next(w);
	assert_int_equal(rotation_move(w->dir.fd, &w->r, ROTATION_WAITING, "", &w->err), 0);
	assert_int_equal(rotation_move(w->dir.fd, &w->r, ROTATION_PROVING, "", &w->err), 0);
}

static void assert_new(struct world *w)
{
	struct key_meta meta;

	assert_file(w, "device.pem", "new pem");
	assert_file(w, "device.auth", "new auth");
	assert_file(w, "device.crt", "new crt");
	assert_int_equal(key_meta_read(w->dir.fd, "device", &meta, NULL), 0);
	assert_string_equal(meta.name, "000b22");
	assert_string_equal(meta.rules[0].text, "link"); /* rights are those of the old key */
	assert_int_equal(count_next(w), 0);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	temp_dir_make(&w->dir);
	put_old(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	agent_error_free(w->err);
	temp_dir_remove(&w->dir);
	free(w);
	return 0;
}

static void the_new_pair_takes_the_place_of_the_old_one(void **state)
{
	struct world *w = *state;
	struct rotation r;

	assert_int_equal(rotation_load(w->dir.fd, &r, NULL), 0);
	assert_int_equal(r.state, ROTATION_NONE);
	to_proving(w);
	assert_int_equal(rotation_load(w->dir.fd, &r, NULL), 0);
	assert_int_equal(r.state, ROTATION_PROVING);
	assert_int_equal(r.type, AGENT_KEY_EC_P384);
	assert_true(rotation_is_active(&r));
	assert_int_equal(rotation_begin(w->dir.fd, "other", AGENT_KEY_EC_P256, false, &r, &w->err), -EBUSY);
	assert_error(&w->err, -EBUSY, "rotation.active");
	assert_int_equal(rotation_commit(w->dir.fd, &w->r, &w->err), 0);
	assert_int_equal(w->r.state, ROTATION_DONE);
	assert_new(w);
}

static void a_commit_cut_off_anywhere_is_finished(void **state)
{
	/* In the order of the renames; the rights are carried over before them. */
	static const char *const order[] = { "pem", "auth", "meta", "crt" };
	struct world *w = *state;

	for (size_t cut = 0; cut <= ARRAY_SIZE(order); cut++) {
		struct rotation r;
		bool is_changed;

		put_old(w);
		to_proving(w);
		assert_int_equal(rotation_move(w->dir.fd, &w->r, ROTATION_COMMIT, "", NULL), 0);
		if (cut > 2) { /* what carry_rights() would have written */
			char meta[256];

			snprintf(meta, sizeof(meta), META, "22", "program:link");
			put(w, "device.next.meta", meta);
		}
		for (size_t i = 0; i < cut; i++) {
			char from[64], to[64];

			snprintf(from, sizeof(from), "device.next.%s", order[i]);
			snprintf(to, sizeof(to), "device.%s", order[i]);
			assert_int_equal(renameat(w->dir.fd, from, w->dir.fd, to), 0);
		}
		put(w, ".device.next.crt.tmp", "half");
		assert_int_equal(rotation_recover(w->dir.fd, &r, &is_changed, &w->err), 0);
		assert_true(is_changed);
		assert_int_equal(r.state, ROTATION_DONE);
		assert_new(w);
		assert_int_equal(rotation_recover(w->dir.fd, &r, &is_changed, &w->err), 0);
		assert_false(is_changed);
	}
}

static void what_is_given_up_leaves_the_old_pair_alone(void **state)
{
	static const enum rotation_state from[] = { ROTATION_MAKING, ROTATION_WAITING, ROTATION_PROVING, ROTATION_ABORT };
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(from); i++) {
		struct rotation r;
		bool is_changed = false;

		assert_int_equal(rotation_begin(w->dir.fd, "device", AGENT_KEY_EC_P256, false, &w->r, &w->err), 0);
		put_next(w);
		if (from[i] != ROTATION_MAKING)
			assert_int_equal(rotation_move(w->dir.fd, &w->r, ROTATION_WAITING, "", NULL), 0);
		if (from[i] >= ROTATION_PROVING)
			assert_int_equal(rotation_move(w->dir.fd, &w->r, ROTATION_PROVING, "", NULL), 0);
		if (from[i] == ROTATION_ABORT) {
			assert_int_equal(rotation_move(w->dir.fd, &w->r, ROTATION_ABORT, "line\nend\xff", NULL), 0);
			assert_string_equal(w->r.reason, "line?end?");
			unlinkat(w->dir.fd, "device.next.pem", 0);
		}
		assert_int_equal(rotation_recover(w->dir.fd, &r, &is_changed, &w->err), 0);
		/* Waiting and trial go on after a start. */
		assert_int_equal(is_changed, from[i] == ROTATION_MAKING || from[i] == ROTATION_ABORT);
		if (!is_changed) {
			assert_int_equal(r.state, from[i]);
			assert_int_equal(count_next(w), 5);
			assert_int_equal(rotation_abort(w->dir.fd, &r, "enough", &w->err), 0);
		}
		assert_int_equal(r.state, ROTATION_FAILED);
		assert_int_equal(count_next(w), 0);
		assert_file(w, "device.pem", "old pem");
		assert_file(w, "device.auth", "old auth");
		assert_file(w, "device.crt", NULL);
	}
}

static void a_renewal_changes_the_certificate_only(void **state)
{
	struct world *w = *state;

	assert_int_equal(rotation_begin(w->dir.fd, "device", AGENT_KEY_EC_P256, true, &w->r, &w->err), 0);
	put(w, "device.next.crt", "newer crt");
	assert_int_equal(rotation_move(w->dir.fd, &w->r, ROTATION_PROVING, "", &w->err), 0);
	assert_int_equal(rotation_commit(w->dir.fd, &w->r, &w->err), 0);
	assert_file(w, "device.crt", "newer crt");
	assert_file(w, "device.pem", "old pem");
	assert_file(w, "device.auth", "old auth");
}

static void moves_that_make_no_sense_are_refused(void **state)
{
	struct world *w = *state;

	to_proving(w);
	assert_int_equal(rotation_move(w->dir.fd, &w->r, ROTATION_DONE, "", &w->err), -EPROTO);
	assert_error(&w->err, -EPROTO, "rotation.state");
	assert_int_equal(w->r.state, ROTATION_PROVING);
	assert_int_equal(rotation_commit(w->dir.fd, &w->r, &w->err), 0);
	assert_int_equal(rotation_abort(w->dir.fd, &w->r, "late", &w->err), -EPROTO);
	assert_error(&w->err, -EPROTO, "rotation.state");
	assert_new(w);
}

static void a_damaged_journal_is_refused(void **state)
{
	static const char good[] = "version 1\nkey device\ntype ec-p256\nstate proving\nrenewal no\nsince 12\nreason \n";
	static const char *const bad[] = {
		"", "version 1\n", "version 2\nkey device\ntype ec-p256\nstate proving\nrenewal no\nsince 12\nreason \n",
		"version 1\nkey ../x\ntype ec-p256\nstate proving\nrenewal no\nsince 12\nreason \n",
		"version 1\nkey \ntype ec-p256\nstate proving\nrenewal no\nsince 12\nreason \n",
		"version 1\nkey device\ntype dsa\nstate proving\nrenewal no\nsince 12\nreason \n",
		"version 1\nkey device\ntype ec-p256\nstate none\nrenewal no\nsince 12\nreason \n",
		"version 1\nkey device\ntype ec-p256\nstate proving\nrenewal maybe\nsince 12\nreason \n",
		"version 1\nkey device\ntype ec-p256\nstate proving\nrenewal no\nsince x\nreason \n",
		"version 1\nkey device\ntype ec-p256\nstate proving\nrenewal no\nsince 12\nreason \nmore\n",
	};
	struct world *w = *state;
	char text[sizeof(good)];
	struct rotation r;
	bool is_changed;

	put(w, ROTATION_FILE, good);
	assert_int_equal(rotation_load(w->dir.fd, &r, &w->err), 0);
	assert_int_equal(r.since_s, 12);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		put(w, ROTATION_FILE, bad[i]);
		assert_int_equal(rotation_load(w->dir.fd, &r, &w->err), -EBADMSG);
		assert_error(&w->err, -EBADMSG, "rotation.journal");
	}
	for (size_t n = 0; n < sizeof(good) - 1; n++) {
		memcpy(text, good, n);
		text[n] = '\0';
		put(w, ROTATION_FILE, text);
		assert_int_equal(rotation_recover(w->dir.fd, &r, &is_changed, NULL), -EBADMSG);
	}
	assert_file(w, "device.pem", "old pem");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_new_pair_takes_the_place_of_the_old_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_commit_cut_off_anywhere_is_finished, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_given_up_leaves_the_old_pair_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_renewal_changes_the_certificate_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(moves_that_make_no_sense_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_damaged_journal_is_refused, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
