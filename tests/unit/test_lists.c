/* SPDX-License-Identifier: Apache-2.0 */
/* Revocation lists that were there and are gone: each is told once, and none that nobody asks for. */
#include "tests/unit/test.h"

#include <errno.h>
#include <sys/stat.h>

#include "agentd/core/lists.h"
#include "agentd/core/store.h"

/* Of a core that is not here. */
void event_add(struct core *core, enum event_id id, ...)
{
	(void)core;
	(void)id;
	fail();
}

int store_open_folder(const struct settings *settings, const char *name, int *ret_fd, struct agent_error **err)
{
	(void)settings;
	(void)name;
	(void)ret_fd;
	return agent_error_set(err, -EIO, "state.dir", "no folder");
}

struct world {
	struct temp_dir dir;
	struct settings settings;
	char elsewhere[128], gone[1024];
};

static void put(struct world *w, const char *name, bool is_there)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", w->dir.path, name);
	for (char *p = strchr(path + strlen(w->dir.path) + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
		*p = '\0';
		(void)mkdir(path, 0700);
		*p = '/';
	}
	if (is_there) {
		FILE *f = fopen(path, "w");

		assert_non_null(f);
		assert_int_equal(fclose(f), 0);
	} else {
		assert_int_equal(unlink(path), 0);
	}
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct settings *s = &w->settings;

	temp_dir_make(&w->dir);
	snprintf(w->elsewhere, sizeof(w->elsewhere), "%s/elsewhere.crl", w->dir.path);
	s->paths.trust_dir = w->dir.path;
	s->mqtt.enable = true;
	s->mqtt.crl_file = s->est.crl_file = s->est.url = (char *)(uintptr_t)"";
	s->fetch.crl_file = w->elsewhere;
	s->mqtt.crl = s->fetch.crl = s->est.crl = (char *)(uintptr_t)"if-present";
	s->mqtt.ocsp = s->fetch.ocsp = s->est.ocsp = (char *)(uintptr_t)"off";
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	temp_dir_remove(&w->dir);
	free(w);
	return 0;
}

static void on_gone(void *userdata, const char *path)
{
	struct world *w = userdata;
	size_t n = strlen(w->gone);

	snprintf(w->gone + n, sizeof(w->gone) - n, "%s ", path + strlen(w->dir.path) + 1);
}

/* Looks as core does; *@known is what it keeps. */
static const char *look(struct world *w, char **known)
{
	char *now = lists_find(&w->settings);

	assert_non_null(now);
	w->gone[0] = '\0';
	if (*known != NULL)
		assert_int_equal(lists_compare(&w->settings, *known, &now, on_gone, w), 0);
	free(*known);
	*known = now;
	return w->gone;
}

static void each_list_that_goes_is_told_once(void **state)
{
	static const char *const names[] = { "broker/ca.crl", "elsewhere.crl", "mgmt/clients.crl", "update/ca.crl", "command/viewer/a.crl", "command/operator/a.crl",
					     "command/admin/a.crl" };
	_cleanup_free_ char *known = NULL;
	struct world *w = *state;
	char text[64];

	put(w, "est/ca.crl", true);	/* no EST here */
	put(w, "update/ca.pem", true);
	put(w, "update/.hidden.crl", true);
	assert_string_equal(look(w, &known), "");
	assert_string_equal(known, "");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		put(w, names[i], true);
	assert_string_equal(look(w, &known), "");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		put(w, names[i], false);
		snprintf(text, sizeof(text), "%s ", names[i]);
		assert_string_equal(look(w, &known), text);
		assert_string_equal(look(w, &known), "");
	}
	assert_string_equal(known, "");
	put(w, names[0], true);
	assert_string_equal(look(w, &known), "");
	put(w, names[0], false);
	assert_string_equal(look(w, &known), "broker/ca.crl ");
}

static void nobody_misses_what_the_settings_do_not_ask_for(void **state)
{
	_cleanup_free_ char *known = NULL;
	struct world *w = *state;

	put(w, "broker/ca.crl", true);
	put(w, "elsewhere.crl", true);
	(void)look(w, &known);
	put(w, "broker/ca.crl", false);
	put(w, "elsewhere.crl", false);
	w->settings.mqtt.crl = (char *)(uintptr_t)"off";
	w->settings.fetch.crl_file = (char *)(uintptr_t)"";
	assert_string_equal(look(w, &known), "");
}

static void what_cannot_be_seen_is_not_gone(void **state)
{
	_cleanup_free_ char *known = NULL;
	struct world *w = *state;
	char loop[256];

	put(w, "broker/ca.crl", true);
	(void)look(w, &known);
	put(w, "broker/ca.crl", false);
	snprintf(loop, sizeof(loop), "%s/broker/ca.crl", w->dir.path);
	assert_int_equal(symlink("ca.crl", loop), 0);	/* ELOOP, also for root */
	assert_string_equal(look(w, &known), "");
	assert_int_equal(unlink(loop), 0);
	assert_string_equal(look(w, &known), "broker/ca.crl ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_list_that_goes_is_told_once, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_misses_what_the_settings_do_not_ask_for, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_seen_is_not_gone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
