/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/ctl/bench.h"
#include "agentd/ctl/commands.h"
#include "agentd/ctl/label.h"
#include "agentd/ctl/output.h"
#include "agentd/ctl/sse.h"
#include "agentd/ctl/token.h"

static void commands_are_found_by_their_words(void **state)
{
	static const struct { const char *argv[3]; int argc; const char *words; int n_words; } cases[] = {
		{ { "status" }, 1, "status", 1 },
		{ { "key", "create", "x" }, 3, "key create", 2 },
		{ { "update", "install", "f" }, 3, "update install", 2 },
		{ { "events", "--follow" }, 2, "events", 1 },
		{ { "key" }, 1, NULL, 0 },
		{ { "key", "destroy" }, 2, NULL, 0 },
		{ { "stat" }, 1, NULL, 0 },
		{ { "statuses" }, 1, NULL, 0 },
		{ { "" }, 1, NULL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int n_words = 0;
		const struct command *c = command_find(cases[i].argc, (char **)cases[i].argv, &n_words);

		if (cases[i].words == NULL) {
			assert_null(c);
		} else {
			assert_non_null(c);
			assert_string_equal(c->words, cases[i].words);
			assert_int_equal(n_words, cases[i].n_words);
		}
	}
	assert_null(command_find(0, NULL, &(int){ 0 }));
}

static void options_and_arguments_are_told_apart(void **state)
{
	const char *type = NULL, *args[2] = { 0 };
	int flag = 0;
	const struct option_row rows[] = { { "--type", &type, NULL }, { "--stdin", NULL, &flag } };
	const char *good[] = { "a", "--type", "t", "--stdin", "--", "-b" };
	const char *missing_value[] = { "--type" }, *unknown[] = { "--typ", "x" }, *dash[] = { "-" }, *three[] = { "a", "b", "c" };

	assert_int_equal(options_parse(6, (char **)good, rows, 2, args, 1, 2), 2);
	assert_string_equal(args[0], "a");
	assert_string_equal(args[1], "-b");
	assert_string_equal(type, "t");
	assert_int_equal(flag, 1);
	assert_int_equal(options_parse(1, (char **)missing_value, rows, 2, args, 0, 2), -1);
	assert_int_equal(options_parse(2, (char **)unknown, rows, 2, args, 0, 2), -1);
	assert_int_equal(options_parse(1, (char **)dash, rows, 2, args, 1, 2), 1);
	assert_string_equal(args[0], "-");
	assert_int_equal(options_parse(3, (char **)three, rows, 2, args, 0, 2), -1);
	assert_int_equal(options_parse(0, NULL, rows, 2, args, 1, 2), -1);
}

static void a_value_may_follow_an_equals_sign(void **state)
{
	const char *type = NULL, *types = NULL;
	struct option_list list = { 0 };
	int flag = 0;
	const struct option_row rows[] = { { "--type", &type, NULL }, { "--types", &types, NULL }, { "--stdin", NULL, &flag }, { .name = "--key", .list = &list } };
	const char *good[] = { "--type=a=b", "--types=", "--key=1", "--key", "2" }, *flag_value[] = { "--stdin=x" }, *unknown[] = { "--typ=x" };

	assert_int_equal(options_parse(5, (char **)good, rows, 4, NULL, 0, 0), 0);
	assert_string_equal(type, "a=b");
	assert_string_equal(types, "");
	assert_int_equal(list.n, 2);
	assert_string_equal(list.items[0], "1");
	assert_string_equal(list.items[1], "2");
	assert_int_equal(options_parse(1, (char **)flag_value, rows, 4, NULL, 0, 0), -1);
	assert_int_equal(flag, 0);
	assert_int_equal(options_parse(1, (char **)unknown, rows, 4, NULL, 0, 0), -1);
}

/* A serial terminal has 80 columns, and shows nothing but what a terminal can show. */
static void help_fits_a_terminal_and_loses_no_word(void **state)
{
	for (size_t i = 0; i <= n_commands; i++) {
		char *text = NULL, words[64], *argv[2] = { words, NULL };
		const char *argument;
		size_t size, column = 0;
		FILE *f = open_memstream(&text, &size);
		int n_args = 0;

		if (i < n_commands) {
			snprintf(words, sizeof(words), "%s", commands[i].words);
			argv[1] = strchr(words, ' ');
			n_args = argv[1] == NULL ? 1 : 2;
			if (argv[1] != NULL)
				*argv[1]++ = '\0';
		}
		assert_true(commands_explain(f, n_args, argv));
		fclose(f);
		for (size_t k = 0; k < size; k++) {
			assert_true(text[k] == '\n' || (text[k] >= ' ' && text[k] <= '~'));
			column = text[k] == '\n' ? 0 : column + 1;
			assert_true(column < 80);
			assert_false(text[k] == '\n' && k > 0 && text[k - 1] == ' ');
		}
		argument = i < n_commands ? strchr(commands[i].arguments, '[') : NULL;
		if (argument != NULL) {
			char *option = strndup(argument, strcspn(argument, "]") + 1);

			assert_non_null(strstr(text, option));
			free(option);
		}
		free(text);
	}
}

static void help_is_there_for_groups_too(void **state)
{
	static const struct { const char *argv[2]; int argc; const char *there, *not_there; } cases[] = {
		{ { "key" }, 1, "agentctl key create NAME", "agentctl update" },
		{ { "link" }, 1, "agentctl link reconnect", "agentctl key" },
		{ { "link", "reconnect" }, 2, "agentctl link reconnect", "budget of the month" },
		{ { "status", "--help" }, 2, "agentctl status", "agentctl key" },
		{ { "frobnicate" }, 1, NULL, NULL },
		{ { "ke" }, 1, NULL, NULL },
		{ { "" }, 1, NULL, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *text = NULL;
		size_t size;
		FILE *f = open_memstream(&text, &size);
		bool found = commands_explain(f, cases[i].argc, (char **)cases[i].argv);

		fclose(f);
		assert_int_equal(found, cases[i].there != NULL);
		if (found) {
			assert_non_null(strstr(text, cases[i].there));
			assert_null(strstr(text, cases[i].not_there));
		} else {
			assert_int_equal(size, 0);
		}
		free(text);
	}
}

static void only_a_whole_answer_of_agentd_counts(void **state)
{
	const char *output = "serial: GW 1: x\nserial: second\nsetup:factory\nxsetup: no\nsetup: unprovisioned";
	char value[16] = "";

	assert_true(bench_get(output, "serial", value, sizeof(value)));
	assert_string_equal(value, "GW 1: x");
	assert_true(bench_get(output, "setup", value, sizeof(value)));
	assert_string_equal(value, "unprovisioned");
	assert_false(bench_get(output, "setup", value, 13));
	assert_true(bench_get(output, "setup", value, 14));
	assert_false(bench_get(output, "device-ca", value, sizeof(value)));
	assert_false(bench_get("", "serial", value, sizeof(value)));
}

/* What is in the codes is read back by tests/e2e/22-provision.sh. */
static void a_label_is_text_for_people_and_well_formed(void **state)
{
	struct label label = { .serial = "GW<1>&\"x", .secret = "7K2M-9QXT-04AB" };
	struct secret text = { 0 };

	memset(label.fingerprint, 'f', 64);
	assert_int_equal(label_url(&label, &text), 0);
	assert_non_null(strstr((char *)text.data, "https://gw-gw<1>&\"x.local/#c=7K2M-9QXT-04AB&fp=ffff"));
	secret_free(&text);
	assert_int_equal(label_text(&label, LABEL_QR_NONE, false, &text), 0);
	assert_memory_equal(text.data, "serial: GW<1>&\"x\nfactory-secret: 7K2M-9QXT-04AB\ndevice-ca: ffff", 60);
	secret_free(&text);
	if (!label_has_qr()) {
		assert_int_equal(label_svg(&label, &text), -EOPNOTSUPP);
		assert_int_equal(label_text(&label, LABEL_QR_ASCII, false, &text), -EOPNOTSUPP);
		secret_free(&text);
	} else {
		assert_int_equal(label_svg(&label, &text), 0);
		assert_non_null(strstr((char *)text.data, ">GW&lt;1&gt;&amp;\"x</text>"));
		secret_free(&text);
	}
	assert_int_equal(label_png(&label, &text), label_has_png() ? 0 : -EOPNOTSUPP);
	if (label_has_png())
		assert_memory_equal(text.data, "\x89PNG\r\n\x1a\n", 8);
	secret_free(&text);
}

static void every_refusal_has_its_exit_code(void **state)
{
	static const struct { long status; const char *slug; int code; } cases[] = {
		{ 200, NULL, CTL_OK }, { 204, NULL, CTL_OK }, { 401, "wrong-credentials", CTL_CREDENTIALS },
		{ 401, "authentication-required", CTL_CREDENTIALS }, { 403, "password-change-required", CTL_REFUSED },
		{ 403, "not-permitted", CTL_REFUSED }, { 404, "not-found", CTL_NOT_FOUND }, { 429, "too-many-requests", CTL_BUSY },
		{ 503, "busy", CTL_BUSY }, { 503, "core-unreachable", CTL_UNREACHABLE }, { 503, "not-ready", CTL_UNREACHABLE },
		{ 422, "update-refused", CTL_UPDATE_REFUSED }, { 507, "no-space", CTL_UPDATE_REFUSED }, { 503, "slot-unavailable", CTL_FAILED },
		{ 409, "update-stale", CTL_UPDATE_STALE }, { 409, "state-changed", CTL_FAILED }, { 422, "weak-password", CTL_FAILED },
		{ 400, NULL, CTL_FAILED }, { 500, "internal", CTL_FAILED }, { 0, NULL, CTL_FAILED },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(http_exit_code(cases[i].status, cases[i].slug), cases[i].code);
}

static void a_strangers_text_does_not_steer_the_terminal(void **state)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	print_text(f, "a\033[31mb\n\xc2\x9b" "c\xc3\xa4\x7f\xe2\x80\xae" "d\xff");
	print_text(f, NULL);
	fclose(f);
	assert_string_equal(text, "a?[31mb??c\xc3\xa4??d?-");
	free(text);
}

/* Nor does it in a document, where it has to stay what it is. */
static void json_has_no_character_that_a_terminal_obeys(void **state)
{
	static const char hostile[] = "a\033[31m\n\x7f\xc2\x9b\xe2\x80\xae\xf0\x9f\xbf\xbe\xc3\xa4\xf0\x9f\x98\x80";
	json_t *value = json_pack("{s:s}", "text", hostile), *again;
	FILE *f = tmpfile();
	int out = dup(STDOUT_FILENO);
	char text[256];

	assert_non_null(value);
	assert_non_null(f);
	fflush(stdout);
	assert_true(dup2(fileno(f), STDOUT_FILENO) >= 0);
	print_json(value);
	assert_true(dup2(out, STDOUT_FILENO) >= 0);
	close(out);
	rewind(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "{\"text\":\"a\\u001B[31m\\n\\u007F\\u009B\\u202E\\uD83F\\uDFFE\xc3\xa4\xf0\x9f\x98\x80\"}\n");
	again = json_loads(text, 0, NULL);
	assert_true(json_equal(value, again));
	json_decref(value);
	json_decref(again);
}

#define T(text) text, sizeof(text) - 1

static int note_event(void *userdata, const char *event, const char *data)
{
	char *log = userdata;

	sprintf(log + strlen(log), "[%s|%s]", event, data);
	return strcmp(event, "stop") == 0 ? 7 : 0;
}

static void a_stream_is_the_same_however_it_is_cut(void **state)
{
	static const char text[] = "retry: 3000\n\nevent: hello\nid: 7\ndata: {\"last\":7}\n\n:\n\nevent: audit\r\ndata: one\r\ndata:two\r\n\r\n"
				   "data\rdata: \r\r: a remark\nunknown: x\ndata: a:b\n\nevent: audit\ndata: half";
	static const char wanted[] = "[hello|{\"last\":7}][audit|one\ntwo][message|\n][message|a:b]";

	for (size_t piece = 1; piece <= sizeof(text); piece++) {
		char log[512] = "";
		struct sse sse = { .on_event = note_event, .userdata = log };

		for (size_t at = 0; at < strlen(text); at += piece)
			assert_int_equal(sse_feed(&sse, text + at, strlen(text) - at < piece ? strlen(text) - at : piece), 0);
		assert_string_equal(log, wanted);
		/* What was half there does not become part of the next connection's first event. */
		sse_clear(&sse);
		assert_int_equal(sse_feed(&sse, T("data: whole\n\n")), 0);
		assert_string_equal(log + strlen(wanted), "[message|whole]");
		sse_clear(&sse);
	}
}

static void a_stream_has_bounds_and_can_be_stopped(void **state)
{
	char log[512] = "", many[4096];
	struct sse sse = { .on_event = note_event, .userdata = log };
	int r = 0;

	memset(many, 'x', sizeof(many));
	for (size_t i = 0; i < 2 * SSE_BYTES_MAX / sizeof(many) && r == 0; i++)
		r = sse_feed(&sse, many, sizeof(many));
	assert_int_equal(r, -EMSGSIZE);
	sse_clear(&sse);
	r = 0;
	for (size_t i = 0; i < SSE_BYTES_MAX && r == 0; i++)
		r = sse_feed(&sse, T("data: 0123456789\n"));
	assert_int_equal(r, -EMSGSIZE);
	sse_clear(&sse);
	assert_int_equal(sse_feed(&sse, T("event: stop\ndata: 1\n\ndata: 2\n\n")), 7);
	assert_string_equal(log, "[stop|1]");
	/* A name longer than any of ours is cut, and is none of ours. */
	assert_int_equal(sse_feed(&sse, T("event: a-name-that-is-longer-than-any-of-our-own\ndata: 3\n\n")), 0);
	assert_string_equal(log, "[stop|1][a-name-that-is-longer-than-any-|3]");
	sse_clear(&sse);
}

static void a_token_is_for_its_socket_only(void **state)
{
	struct temp_dir dir;
	char *token;

	temp_dir_make(&dir);
	setenv("XDG_RUNTIME_DIR", dir.path, 1);
	assert_null(token_load("/run/a.sock"));
	assert_int_equal(token_store("/run/a.sock", "abc-DEF_123"), 0);
	token = token_load("/run/a.sock");
	assert_non_null(token);
	assert_string_equal(token, "abc-DEF_123");
	token_free(token);
	assert_null(token_load("/run/b.sock"));
	assert_null(token_load("/run/a.soc"));
	token_forget();
	assert_null(token_load("/run/a.sock"));
	/* In a folder that others may write, somebody else may have put it there. */
	assert_int_equal(token_store("/run/a.sock", "x"), 0);
	assert_int_equal(chmod(dir.path, 0777), 0);
	assert_null(token_load("/run/a.sock"));
	assert_true(token_store("/run/a.sock", "y") < 0);
	temp_dir_remove(&dir);
}

static void a_token_that_would_forge_a_header_is_dropped(void **state)
{
	struct temp_dir dir;
	int fd;

	temp_dir_make(&dir);
	setenv("XDG_RUNTIME_DIR", dir.path, 1);
	fd = openat(dir.fd, "agentctl.token", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "/s\nabc\rX-Evil: 1\n", 17), 17);
	close(fd);
	assert_null(token_load("/s"));
	temp_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_are_found_by_their_words),
		cmocka_unit_test(options_and_arguments_are_told_apart),
		cmocka_unit_test(a_value_may_follow_an_equals_sign),
		cmocka_unit_test(help_fits_a_terminal_and_loses_no_word),
		cmocka_unit_test(help_is_there_for_groups_too),
		cmocka_unit_test(only_a_whole_answer_of_agentd_counts),
		cmocka_unit_test(a_label_is_text_for_people_and_well_formed),
		cmocka_unit_test(every_refusal_has_its_exit_code),
		cmocka_unit_test(a_strangers_text_does_not_steer_the_terminal),
		cmocka_unit_test(json_has_no_character_that_a_terminal_obeys),
		cmocka_unit_test(a_stream_is_the_same_however_it_is_cut),
		cmocka_unit_test(a_stream_has_bounds_and_can_be_stopped),
		cmocka_unit_test(a_token_is_for_its_socket_only),
		cmocka_unit_test(a_token_that_would_forge_a_header_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
