/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console: login program for a terminal of the device, started by a getty as root. Shows which device this is, asks core at
 * login.sock (agentd/common/login_door.h) whether the password is right, has the first one set, then shows the status or
 * becomes the program that the settings name for the role. Whatever is typed instead, the end is the end of this program
 * and the getty begins anew.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "agentd/common/login_door.h"
#include "agentd/common/settings.h"
#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "base/macro.h"
#include "base/secret.h"

#define LINE_BYTES 1024
#define USER_MAX 32
#define PROMPT_TIMEOUT_S 60 /* then the line is the getty's again */
#define MENU_TIMEOUT_S 300
#define DOOR_TIMEOUT_MS 15000
#define MAX_TRIES 5	    /* of one run */
#define MAX_NEW_TRIES 10
#define MAX_WORDS 16

enum key { KEY_ENTER = '\r', KEY_INTERRUPT = 3, KEY_END = 4, KEY_BACKSPACE = 8, KEY_ERASE_LINE = 21, KEY_DELETE = 127 };

struct console {
	struct ctl *ctl;
	const struct settings *settings;
	char *door;
	char source[64];
	char user[USER_MAX + 1];
	struct login_who who;
	struct login_greeting greeting;
	struct login_reply reply;
	struct termios before;
};

/* ---- the terminal ------------------------------------------------------------------------------------------------ */

/* Nothing the keyboard sends is a signal, and each byte comes as it is typed; ^C and the like are read as what they are. */
static int terminal_take(struct console *c)
{
	struct termios t;

	if (tcgetattr(STDIN_FILENO, &c->before) < 0)
		return -errno;
	t = c->before;
	t.c_iflag &= (tcflag_t) ~(BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL);
	t.c_iflag |= IGNBRK;
	t.c_lflag &= (tcflag_t) ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	t.c_oflag |= OPOST | ONLCR;
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	return tcsetattr(STDIN_FILENO, TCSAFLUSH, &t) < 0 ? -errno : 0;
}

static int read_key(int timeout_s, uint8_t *ret_key)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	ssize_t n;
	int r;

	(void)fflush(stdout);
	do
		r = poll(&p, 1, timeout_s * 1000);
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return r < 0 ? -errno : -ETIMEDOUT;
	n = read(STDIN_FILENO, ret_key, 1);
	return n < 0 ? -errno : n == 0 ? -EIO : 0;
}

static size_t count_characters(const struct secret *line)
{
	size_t n = 0;

	for (size_t i = 0; i < line->size; i++)
		n += (line->data[i] & 0xc0) != 0x80; /* RFC 3629: not a continuation */
	return n;
}

static void erase_character(struct secret *line)
{
	while (line->size > 0 && (line->data[--line->size] & 0xc0) == 0x80)
		;
	wipe(line->data + line->size, 1);
}

enum echo { ECHO_NOTHING, ECHO_TEXT, ECHO_LENGTH };

static void show(const char *question, enum echo echo, const struct secret *line, unsigned least)
{
	size_t n = count_characters(line);

	if (echo == ECHO_LENGTH)
		printf("\r%s (%zu of at least %u characters%s): ", question, n, least, n < least ? "" : ", long enough");
	else if (echo == ECHO_TEXT)
		printf("\r%s: %.*s\033[K", question, (int)line->size, (const char *)line->data);
}

/*
 * One line. -EINTR: given up by ^C. -ENODATA: ^D on an empty line. -ETIMEDOUT, -EIO: nobody is there any more. -EMSGSIZE,
 * -EBADMSG: too long, or not text (a key of the cursor, noise on the line); those were no tries and are not sent to anybody.
 */
static int ask(const char *question, enum echo echo, unsigned least, int timeout_s, struct secret *ret_line)
{
	bool is_text = true, is_too_long = false;
	int r = secret_alloc(ret_line, LINE_BYTES);

	if (r < 0)
		return r;
	(void)tcflush(STDIN_FILENO, TCIFLUSH); /* what was typed before the question is no answer to it */
	printf("%s: ", question);
	show(question, echo, ret_line, least);
	for (;;) {
		uint8_t key;

		r = read_key(timeout_s, &key);
		if (r < 0)
			return r;
		switch (key) {
		case KEY_ENTER:
		case '\n':
			putchar('\n');
			return is_too_long ? -EMSGSIZE : !is_text ? -EBADMSG : 0;
		case KEY_INTERRUPT:
			putchar('\n');
			return -EINTR;
		case KEY_END:
			if (ret_line->size > 0)
				continue;
			putchar('\n');
			return -ENODATA;
		case KEY_BACKSPACE:
		case KEY_DELETE:
			erase_character(ret_line);
			break;
		case KEY_ERASE_LINE:
			wipe(ret_line->data, LINE_BYTES);
			ret_line->size = 0;
			is_text = true;
			is_too_long = false;
			break;
		default:
			if (key < 0x20)
				is_text = false;
			else if (ret_line->size == LINE_BYTES - 1)
				is_too_long = true;
			else
				ret_line->data[ret_line->size++] = key;
		}
		show(question, echo, ret_line, least);
	}
}

/* What may be asked once more; anything else ends the program. */
static bool is_slip(int r)
{
	if (r == -EINTR)
		puts("Given up; nothing was tried.");
	else if (r == -EMSGSIZE)
		puts("That is longer than any password may be; nothing was tried.");
	else if (r == -EBADMSG)
		puts("There were control characters in it; nothing was tried.");
	return r == -EINTR || r == -EMSGSIZE || r == -EBADMSG;
}

/* ---- talking to core ---------------------------------------------------------------------------------------------- */

static void print_line(const char *label, const char *text)
{
	printf("%-14s ", label);
	print_text(stdout, text);
	putchar('\n');
}

static void say_why_not(const struct login_reply *reply)
{
	if (reply->result == LOGIN_WRONG && reply->text[0] == '\0')
		fputs("wrong user or password", stdout);
	else
		print_text(stdout, reply->text);
	if (reply->retry_s > 0)
		printf("\nWait %u s.", reply->retry_s);
	putchar('\n');
}

/* While somebody has to wait, let him: asking again at once would only show the same sentence. */
static void wait_a_moment(const struct login_reply *reply)
{
	unsigned seconds = reply->retry_s < PROMPT_TIMEOUT_S ? reply->retry_s : PROMPT_TIMEOUT_S;

	(void)fflush(stdout);
	(void)poll(NULL, 0, (int)(seconds == 0 ? 1 : seconds) * 1000);
}

static bool greet(struct console *c)
{
	if (login_greet(c->door, DOOR_TIMEOUT_MS, &c->greeting, &c->reply) != LOGIN_OK) {
		say_why_not(&c->reply);
		return false;
	}
	putchar('\n');
	print_line("model", c->greeting.model);
	print_line("serial number", c->greeting.serial);
	print_line("device CA", c->greeting.fingerprint[0] == '\0' ? "-" : c->greeting.fingerprint);
	print_line("setup", c->greeting.setup);
	if (strcmp(c->greeting.setup, "active") == 0)
		return true;
	if (strcmp(c->greeting.setup, "factory") == 0) {
		puts("\nThis device has no owner yet. Have the code on its label ready.");
		return true;
	}
	puts("\nNobody can log in in this state. See \"factory reset\" in the manual of the device.");
	return false;
}

/* "user" and the password; true when core said yes. */
static int try_once(struct console *c, bool wants_session, struct secret *ret_password)
{
	bool is_factory = strcmp(c->greeting.setup, "factory") == 0;
	int r = ask(is_factory ? "Code on the label" : wants_session ? "Current password" : "Password", ECHO_NOTHING, 0, PROMPT_TIMEOUT_S,
		    ret_password);

	if (r < 0)
		return r;
	if (ret_password->size == 0)
		return -EINTR;
	ret_password->data[ret_password->size] = '\0';
	login_check(c->door, DOOR_TIMEOUT_MS, &c->who, (const char *)ret_password->data, wants_session, &c->reply);
	return 0;
}

static int ask_user(struct console *c)
{
	_cleanup_secret_ struct secret line = { 0 };
	int r;

	memcpy(c->user, "admin", sizeof("admin"));
	if (strcmp(c->greeting.setup, "factory") == 0)
		return 0;
	r = ask("User [admin]", ECHO_TEXT, 0, PROMPT_TIMEOUT_S, &line);
	if (r < 0)
		return r;
	if (line.size > USER_MAX)
		return -EMSGSIZE;
	if (line.size > 0) {
		memcpy(c->user, line.data, line.size);
		c->user[line.size] = '\0';
	}
	return 0;
}

/* 0 when somebody is known; c->reply says who. */
static int log_in(struct console *c)
{
	for (int i = 0; i < MAX_TRIES; i++) {
		_cleanup_secret_ struct secret password = { 0 };
		int r = ask_user(c);

		if (r >= 0)
			r = try_once(c, false, &password);
		if (is_slip(r))
			continue;
		if (r < 0)
			return r;
		if (c->reply.result == LOGIN_OK)
			return 0;
		say_why_not(&c->reply);
		if (c->reply.result != LOGIN_WRONG && c->reply.result != LOGIN_LIMITED)
			return -EACCES;
		wait_a_moment(&c->reply);
	}
	return -EACCES;
}

/* ---- a new password ----------------------------------------------------------------------------------------------- */

static void explain_rules(unsigned least)
{
	printf("\nYour password:\n"
	       "  - at least %u characters, 128 at most; blanks and any letters are fine, several words are best\n"
	       "  - no well-known password, nothing repeated, no row of neighbouring keys\n"
	       "  - without serial number, model, host name, user name and the code on the label\n"
	       "^U begins the line anew, ^C asks again.\n\n",
	       least);
}

static int ask_new(struct console *c, struct secret *ret_password)
{
	_cleanup_secret_ struct secret again = { 0 };
	int r = ask("New password", ECHO_LENGTH, c->greeting.password_min, PROMPT_TIMEOUT_S, ret_password);

	if (r >= 0)
		r = ask("New password again", ECHO_NOTHING, 0, PROMPT_TIMEOUT_S, &again);
	if (r < 0)
		return r;
	if (!secret_equal(&again, ret_password->data, ret_password->size)) {
		puts("The two are not the same; nothing was changed.");
		return -EAGAIN;
	}
	ret_password->data[ret_password->size] = '\0';
	return 0;
}

/* @current: "" when the label code or the password to be replaced has just opened the way. */
static int change(struct console *c, const char *current)
{
	char token[LOGIN_TOKEN_SIZE];
	int r = -EACCES;

	memcpy(token, c->reply.token, sizeof(token));
	explain_rules(c->greeting.password_min);
	for (int i = 0; i < MAX_NEW_TRIES; i++) {
		_cleanup_secret_ struct secret new_password = { 0 };

		r = ask_new(c, &new_password);
		if (r == -EAGAIN || is_slip(r))
			continue;
		if (r < 0)
			break;
		login_change(c->door, DOOR_TIMEOUT_MS, &c->who, token, current, (const char *)new_password.data, &c->reply);
		if (c->reply.result == LOGIN_OK) {
			/* The change gave a new session in place of the old ones. There is no need of one here. */
			login_close(c->door, DOOR_TIMEOUT_MS, &c->who, c->reply.token);
			puts("The password is set. Everything from before it is void.");
			r = 0;
			break;
		}
		say_why_not(&c->reply);
		r = -EACCES;
		if (c->reply.result != LOGIN_REJECTED)
			break;
	}
	wipe(token, sizeof(token));
	return r;
}

static int change_from_menu(struct console *c)
{
	_cleanup_secret_ struct secret current = { 0 };
	int r = try_once(c, true, &current);

	if (is_slip(r))
		return 0;
	if (r < 0)
		return r;
	if (c->reply.result == LOGIN_OK)
		return change(c, (const char *)current.data);
	say_why_not(&c->reply);
	wait_a_moment(&c->reply);
	return 0;
}

/* ---- what comes after ---------------------------------------------------------------------------------------------- */

static const char *program_for(const struct console *c, const char *role)
{
	if (strcmp(role, "admin") == 0)
		return c->settings->console.admin;
	if (strcmp(role, "operator") == 0)
		return c->settings->console.operator;
	return strcmp(role, "viewer") == 0 ? c->settings->console.viewer : "";
}

/* Words between blanks, no quoting: what needs more is a script. Returns only when it could not be started. */
static void become(struct console *c, const char *role, const char *program)
{
	static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", home[] = "HOME=/";
	char user[sizeof(c->user) + 16], role_text[32], term[64];
	char *environment[] = { path, home, user, role_text, term, NULL }, *words[MAX_WORDS + 1] = { NULL }, *rest = NULL;
	_cleanup_free_ char *line = strdup(program);
	const char *terminal = getenv("TERM");
	size_t n = 0;

	if (line == NULL)
		return;
	snprintf(user, sizeof(user), "AGENTD_USER=%s", c->user);
	snprintf(role_text, sizeof(role_text), "AGENTD_ROLE=%s", role);
	snprintf(term, sizeof(term), "TERM=%s", terminal == NULL ? "dumb" : terminal);
	for (char *word = strtok_r(line, " ", &rest); word != NULL && n < MAX_WORDS; word = strtok_r(NULL, " ", &rest))
		words[n++] = word;
	(void)fflush(stdout);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &c->before);
	for (int s = 1; s < 32; s++)
		(void)signal(s, SIG_DFL);
	(void)prctl(PR_SET_DUMPABLE, 1);
	execve(words[0], words, environment);
	fprintf(stderr, "agentctl: cannot start %s: %s\n", words[0], strerror(errno));
}

static int menu(struct console *c)
{
	int r = cmd_status(c->ctl, 0, NULL);

	for (;;) {
		_cleanup_secret_ struct secret line = { 0 };

		(void)r;
		puts("\nstatus, passwd or logout?");
		r = ask(c->user, ECHO_TEXT, 0, MENU_TIMEOUT_S, &line);
		if (is_slip(r) || (r == 0 && line.size == 0))
			continue;
		if (r < 0)
			return r;
		line.data[line.size] = '\0';
		if (strcmp((const char *)line.data, "status") == 0)
			r = cmd_status(c->ctl, 0, NULL);
		else if (strcmp((const char *)line.data, "logout") == 0)
			return 0;
		else if (strcmp((const char *)line.data, "passwd") != 0)
			puts("There is no such command.");
		else if ((r = change_from_menu(c)) < 0)
			return r;
	}
}

static int converse(struct console *c)
{
	char role[sizeof(c->reply.role)];
	const char *program;
	int r;

	if (!greet(c)) {
		wait_a_moment(&c->reply);
		return CTL_UNREACHABLE;
	}
	r = log_in(c);
	if (r < 0)
		return CTL_CREDENTIALS;
	memcpy(role, c->reply.role, sizeof(role));
	if (c->reply.must_change) {
		puts("\nBefore anything else can be done, set a password of your own.");
		if (change(c, "") < 0)
			return CTL_REFUSED;
	}
	program = program_for(c, role);
	if (program[0] != '\0') {
		become(c, role, program);
		return CTL_FAILED;
	}
	return menu(c) == 0 ? CTL_OK : CTL_FAILED;
}

int cmd_console(struct ctl *ctl, int argc, char **argv)
{
	static const int ignored[] = { SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU };
	_cleanup_error_ struct agent_error *err = NULL;
	struct settings *settings = NULL;
	struct console c = { .ctl = ctl };
	const char *tty;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		(void)signal(ignored[i], SIG_IGN);
	if (options_parse(argc, argv, NULL, 0, NULL, 0, 0) < 0)
		return CTL_USAGE;
	tty = ttyname(STDIN_FILENO);
	if (tty == NULL) {
		fputs("agentctl: console needs a terminal; let a getty start it, see agentctl(1)\n", stderr);
		return CTL_USAGE;
	}
	(void)prctl(PR_SET_DUMPABLE, 0);
	r = settings_load(ctl->config, &settings, &err);
	if (r < 0) {
		fprintf(stderr, "agentctl: %s\n", err == NULL ? strerror(-r) : agent_error_message(err));
		return CTL_USAGE;
	}
	c.settings = settings;
	c.who = (struct login_who){ .user = c.user, .source = c.source, .uid = LOGIN_DOOR_NO_UID };
	snprintf(c.source, sizeof(c.source), "tty:%s", strncmp(tty, "/dev/", 5) == 0 ? tty + 5 : tty);
	if (asprintf(&c.door, "%s/login.sock", settings->paths.run_dir) < 0 || terminal_take(&c) < 0) {
		settings_free(settings);
		return CTL_FAILED;
	}
	r = converse(&c);
	(void)fflush(stdout);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &c.before);
	wipe(&c.reply, sizeof(c.reply));
	free(c.door);
	settings_free(settings);
	return r;
}
