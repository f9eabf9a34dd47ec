/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_PASSWORD_WORLD_H
#define TESTS_UNIT_PASSWORD_WORLD_H
/* A password record in a folder of its own, over the counter and the MAC of fake_tpm.h. */
#include "tests/unit/test.h"
#include "tests/unit/fake_tpm.h"

#include <agent/password.h>

#include "base/file.h"

#define SECRET "7K2M-9QXT-04AB"
#define OWNER_A "correct purple kettle drum"
#define OWNER_B "seven llamas juggle teapots"

struct password_world {
	struct temp_dir dir;
	struct fake_counter c;
	struct fake_mac m;
	struct agent_counter *counter;
	struct agent_mac *mac;
	struct agent_password *pw;
};

/* As after a restart. */
static inline void password_world_open(struct password_world *w, const struct agent_password_options *options)
{
	w->pw = agent_password_free(w->pw);
	assert_int_equal(agent_password_open(NULL, w->dir.fd, w->counter, w->mac, options, &w->pw, NULL), 0);
}

static inline void reopen(struct password_world *w)
{
	static const char *const words[] = { "admin", "GW-004711", NULL };
	const struct agent_password_options options = { .min_length = 15, .context_words = words, .cost = 1 };

	password_world_open(w, &options);
}

static inline int verify(struct password_world *w, const char *text)
{
	return agent_password_verify(w->pw, "admin", text, strlen(text), NULL);
}

/* @since: of the account, or the generation in factory state; with one account they are the same. */
static inline int change(struct password_world *w, uint64_t since, const char *text)
{
	return agent_password_change(w->pw, "admin", since, text, strlen(text), NULL);
}

/* @data NULL: no such file. */
static inline void put_file(struct password_world *w, const char *name, const char *data, size_t size)
{
	if (data == NULL)
		assert_true(unlinkat(w->dir.fd, name, 0) == 0 || errno == ENOENT);
	else
		assert_int_equal(file_write_sync_at(w->dir.fd, name, 0600, data, size, NULL), 0);
}

/* ---- for cmocka: *state is the world ---------------------------------------------------------------------------- */

static inline int setup_empty(void **state)
{
	struct password_world *w = test_calloc(1, sizeof(*w));

	temp_dir_make(&w->dir);
	memset(w->m.key, 9, sizeof(w->m.key));
	w->c.userdata = w;
	assert_int_equal(agent_counter_new(&fake_counter_ops, &w->c, &w->counter, NULL), 0);
	assert_int_equal(agent_mac_new(&fake_mac_ops, &w->m, &w->mac, NULL), 0);
	*state = w;
	reopen(w);
	return 0;
}

static inline int setup_factory(void **state)
{
	setup_empty(state);
	return agent_password_provision(((struct password_world *)*state)->pw, SECRET, strlen(SECRET), NULL);
}

static inline int setup_active(void **state)
{
	setup_factory(state);
	return change(*state, 1, OWNER_A);
}

static inline int teardown(void **state)
{
	struct password_world *w = *state;

	agent_password_free(w->pw);
	agent_counter_unref(w->counter);
	agent_mac_unref(w->mac);
	temp_dir_remove(&w->dir);
	test_free(w);
	return 0;
}

#endif
