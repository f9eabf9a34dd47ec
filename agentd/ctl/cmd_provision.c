/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The factory line: keys and factory secret of one unit, and its label. The secret goes to terminal and label files before its
 * verifier is stored, so that no unit ever has a secret that nobody read; only exit code 0 says that it counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <libgen.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <agent/password.h>

#include "agentd/ctl/bench.h"
#include "agentd/ctl/commands.h"
#include "agentd/ctl/label.h"
#include "base/file.h"
#include "base/macro.h"

#define ANSWER_MAX 1024
#define SECRET_FILE_MAX 64

struct request {
	const char *secret_file, *png, *svg, *qr_name;
	enum label_qr qr;
};

static int say(int code, const char *fmt, ...) AGENT_PRINTF(2, 3);
static int say(int code, const char *fmt, ...)
{
	va_list ap;

	fputs("agentctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

/* ---- before anything is made ------------------------------------------------------------------------------------ */

static int choose_qr(const struct ctl *ctl, struct request *request)
{
	const char *name = request->qr_name;

	if (name != NULL && strcmp(name, "utf8") != 0 && strcmp(name, "ascii") != 0 && strcmp(name, "none") != 0)
		return say(CTL_USAGE, "--qr takes utf8, ascii or none");
	if (name == NULL && ctl->is_json)
		name = "none";
	if (name == NULL && !label_has_qr())
		fputs("agentctl: no QR code: this build has no libqrencode\n", stderr);
	setlocale(LC_CTYPE, "");
	if (name == NULL)
		name = !label_has_qr() ? "none" : strcmp(nl_langinfo(CODESET), "UTF-8") == 0 ? "utf8" : "ascii";
	request->qr = strcmp(name, "utf8") == 0 ? LABEL_QR_UTF8 : strcmp(name, "ascii") == 0 ? LABEL_QR_ASCII : LABEL_QR_NONE;
	if ((request->qr != LABEL_QR_NONE || request->svg != NULL || request->png != NULL) && !label_has_qr())
		return say(CTL_REFUSED, "this build has no libqrencode: --qr none, and no --svg or --png");
	if (request->png != NULL && !label_has_png())
		return say(CTL_REFUSED, "this build has no libpng: no --png; --svg does the same");
	if (ctl->is_json && request->qr != LABEL_QR_NONE)
		return say(CTL_USAGE, "--json has the address in \"url\"; it goes with --qr none only");
	return CTL_OK;
}

/* The file is opened with O_EXCL later as well; this is for hearing of it before keys are made. */
static int check_free(const char *path)
{
	struct stat st;

	if (path == NULL || (lstat(path, &st) < 0 && errno == ENOENT))
		return CTL_OK;
	return say(CTL_REFUSED, "%s: a label is written once, to a file that is not there yet", path);
}

static int check_request(const struct ctl *ctl, struct request *request)
{
	int r = choose_qr(ctl, request);

	if (r == CTL_OK)
		r = check_free(request->png);
	return r == CTL_OK ? check_free(request->svg) : r;
}

static int read_secret(const char *path, struct label *label)
{
	_cleanup_close_ int own = -1;
	char text[SECRET_FILE_MAX + 1];
	struct stat st;
	ssize_t n;
	int fd = STDIN_FILENO, r;

	if (strcmp(path, "-") != 0) {
		fd = own = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (fd < 0 || fstat(fd, &st) < 0)
			return say(CTL_FAILED, "%s: %s", path, strerror(errno));
		if (S_ISREG(st.st_mode) && (st.st_mode & 077) != 0)
			return say(CTL_REFUSED, "%s: others may read it (mode %04o); a secret belongs into a file of mode 0600", path,
				   (unsigned)(st.st_mode & 07777));
	}
	n = read_full(fd, text, sizeof(text));
	if (n < 0)
		return say(CTL_FAILED, "%s: %s", path, strerror((int)-n));
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		n--;
	r = agent_factory_secret_parse(text, (size_t)n, label->secret);
	wipe(text, sizeof(text));
	return r == 0 ? CTL_OK : say(CTL_FAILED, "%s: no factory secret, which is twelve random symbols of Crockford's base32", path);
}

/* ---- the label -------------------------------------------------------------------------------------------------- */

static int sync_folder_of(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int fd = -1;

	if (copy == NULL || dir_open(dirname(copy), &fd, NULL) < 0)
		return -EIO;
	return dir_sync(fd, NULL);
}

static int write_label(const char *path, int (*make)(const struct label *label, struct secret *ret_file), const struct label *label)
{
	_cleanup_secret_ struct secret file = { 0 };
	_cleanup_close_ int fd = -1;
	int r;

	if (path == NULL)
		return CTL_OK;
	r = make(label, &file);
	if (r < 0)
		return say(CTL_FAILED, "%s: %s", path, strerror(-r));
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return say(errno == EEXIST ? CTL_REFUSED : CTL_FAILED, "%s: %s", path, strerror(errno));
	r = fchmod(fd, 0600) < 0 ? -errno : write_all(fd, file.data, file.size);
	if (r >= 0 && fsync(fd) < 0)
		r = -errno;
	if (r >= 0)
		r = sync_folder_of(path);
	if (r >= 0)
		return CTL_OK;
	(void)unlink(path);
	return say(CTL_FAILED, "%s: %s", path, strerror(-r));
}

static int print_label(const struct ctl *ctl, const struct request *request, const struct label *label)
{
	_cleanup_secret_ struct secret text = { 0 }, url = { 0 };
	json_t *json;
	int r;

	if (!ctl->is_json) {
		r = label_text(label, request->qr, isatty(STDOUT_FILENO), &text);
		if (r >= 0)
			r = write_all(STDOUT_FILENO, text.data, text.size);
	} else {
		r = label_url(label, &url);
		json = r < 0 ? NULL : json_pack("{s:s,s:s,s:s,s:s}", "serial", label->serial, "factory_secret", label->secret, "device_ca_fingerprint",
						label->fingerprint, "url", (const char *)url.data);
		if (r >= 0)
			r = json != NULL && json_dumpf(json, stdout, JSON_COMPACT) == 0 && fputc('\n', stdout) != EOF && fflush(stdout) == 0 ? 0 : -EIO;
		json_decref(json);
	}
	return r < 0 ? say(CTL_FAILED, "the label cannot be shown: %s; nothing was stored", strerror(-r)) : CTL_OK;
}

static int publish(const struct ctl *ctl, const struct request *request, const struct label *label)
{
	int r = write_label(request->svg, label_svg, label);

	if (r != CTL_OK)
		return r;
	r = write_label(request->png, label_png, label);
	if (r == CTL_OK) {
		r = print_label(ctl, request, label);
		if (r != CTL_OK && request->png != NULL)
			(void)unlink(request->png);
	}
	if (r != CTL_OK && request->svg != NULL)
		(void)unlink(request->svg);
	return r;
}

/* ---- agentd's part ---------------------------------------------------------------------------------------------- */

/* Keys, if they are not there yet; what stands on the label beside the secret; and the state. */
static int make_keys(const struct ctl *ctl, const struct settings *settings, struct label *label, char state[16])
{
	static const char *const args[] = { "--provision", "--keys-only", NULL };
	char answer[ANSWER_MAX];
	int r = bench_run(ctl, settings, args, (const int[]){ -1, -1 }, answer, sizeof(answer));

	if (r == CTL_OK && (!bench_get(answer, "serial", label->serial, sizeof(label->serial)) ||
			    !bench_get(answer, "device-ca", label->fingerprint, sizeof(label->fingerprint)) || !bench_get(answer, "setup", state, 16)))
		return say(CTL_FAILED, "agentd says nothing about this device; are agentctl and agentd of the same version?");
	return r;
}

static int check_state(const char *state)
{
	if (strcmp(state, "unprovisioned") == 0)
		return CTL_OK;
	if (strcmp(state, "factory") == 0)
		return say(CTL_REFUSED, "this unit has its factory secret already: it is given once; the label shows it, and it cannot be read back");
	if (strcmp(state, "active") == 0)
		return say(CTL_REFUSED, "this unit has an owner's password: it is provisioned and in use");
	return say(CTL_REFUSED, "this unit is in state \"%s\": see 'recovery' in agentd(8)", state);
}

static int store_secret(const struct ctl *ctl, const struct settings *settings, const struct label *label)
{
	static const char *const args[] = { "--provision", "--secret-stdin", NULL };
	_cleanup_close_ int from = -1, to = -1;
	char answer[ANSWER_MAX];
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return say(CTL_FAILED, "cannot make a pipe: %s", strerror(errno));
	from = fds[0];
	to = fds[1];
	if (write_all(to, label->secret, strlen(label->secret)) < 0) /* fits into any pipe */
		return say(CTL_FAILED, "cannot write to a pipe");
	close(TAKE_FD(to));
	return bench_run(ctl, settings, args, (const int[]){ from, -1 }, answer, sizeof(answer));
}

/* A failure may have come after the verifier was stored: then the label is good, and the only one there will be. */
static int settle(const struct ctl *ctl, const struct settings *settings, const struct request *request, int r)
{
	struct label now = { 0 };
	char state[16] = "";

	if (make_keys(ctl, settings, &now, state) != CTL_OK)
		return say(r, "it is not known whether the secret was stored: keep the label until \"agentctl provision\" can tell");
	/* Refused or locked out: then the secret that is there came from another run. */
	if (strcmp(state, "factory") == 0 && r != CTL_REFUSED && r != CTL_BUSY)
		return CTL_OK;
	if (request->svg != NULL)
		(void)unlink(request->svg);
	if (request->png != NULL)
		(void)unlink(request->png);
	return say(r, "the secret was not stored and is void; the label files are removed");
}

static int give_label(const struct ctl *ctl, const struct settings *settings, const struct request *request, struct label *label)
{
	char state[16] = "";
	int r = request->secret_file != NULL ? read_secret(request->secret_file, label) : CTL_OK;

	if (r == CTL_OK)
		r = make_keys(ctl, settings, label, state);
	if (r == CTL_OK)
		r = check_state(state);
	if (r == CTL_OK && request->secret_file == NULL && agent_factory_secret_new(label->secret) < 0)
		r = say(CTL_FAILED, "no random bytes for a factory secret");
	if (r == CTL_OK)
		r = publish(ctl, request, label);
	if (r != CTL_OK)
		return r;
	r = store_secret(ctl, settings, label);
	return r == CTL_OK ? r : settle(ctl, settings, request, r);
}

static int provision(const struct ctl *ctl, const struct settings *settings, const struct request *request)
{
	struct label label = { 0 };
	int r;

	(void)prctl(PR_SET_DUMPABLE, 0); /* the secret passes through memory of libraries that do not wipe */
	setvbuf(stdout, NULL, _IONBF, 0);
	r = give_label(ctl, settings, request, &label);
	wipe(&label, sizeof(label));
	return r;
}

/* ---- a signed file, for many units ------------------------------------------------------------------------------ */

static int open_file(const char *path, int *ret_fd)
{
	struct stat st;

	*ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (*ret_fd < 0 || fstat(*ret_fd, &st) < 0)
		return say(errno == ENOENT ? CTL_NOT_FOUND : CTL_FAILED, "%s: %s", path, strerror(errno));
	return S_ISREG(st.st_mode) ? CTL_OK : say(CTL_FAILED, "%s: not a file", path);
}

/* Opened here: a stick that root mounted need not be open to the user of agentd. */
static int activate(const struct ctl *ctl, const struct settings *settings, const char *file, const char *signature)
{
	static const char *const args[] = { "--activate", NULL };
	_cleanup_close_ int text_fd = -1, signature_fd = -1;
	_cleanup_free_ char *beside = NULL;
	char answer[ANSWER_MAX], id[AGENT_ORDER_ID_MAX + 1];
	json_t *json;
	int r = open_file(file, &text_fd);

	if (r == CTL_OK && signature == NULL && asprintf(&beside, "%s.p7s", file) < 0) {
		beside = NULL;
		return say(CTL_FAILED, "no memory");
	}
	if (r == CTL_OK)
		r = open_file(signature != NULL ? signature : beside, &signature_fd);
	if (r == CTL_OK)
		r = bench_run(ctl, settings, args, (const int[]){ text_fd, signature_fd }, answer, sizeof(answer));
	if (r != CTL_OK)
		return r;
	if (!bench_get(answer, "activated", id, sizeof(id)))
		return say(CTL_FAILED, "agentd does not say what it did; are agentctl and agentd of the same version?");
	if (!ctl->is_json) {
		fputs("activated: ", stdout);
		print_text(stdout, id);
		fputc('\n', stdout);
		return CTL_OK;
	}
	json = json_pack("{s:s,s:s}", "activated", id, "serial", settings->device.serial);
	print_json(json);
	json_decref(json);
	return CTL_OK;
}

int cmd_provision(struct ctl *ctl, int argc, char **argv)
{
	struct request request = { 0 };
	struct settings *settings = NULL;
	const char *file = NULL, *signature = NULL;
	const struct option_row rows[] = {
		{ "--secret-file", &request.secret_file, NULL },
		{ "--qr", &request.qr_name, NULL },
		{ "--png", &request.png, NULL },
		{ "--svg", &request.svg, NULL },
		{ "--signed", &file, NULL },
		{ "--signature", &signature, NULL },
	};
	int r = options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0 ? CTL_USAGE : CTL_OK;
	bool has_label_options = request.secret_file != NULL || request.qr_name != NULL || request.png != NULL || request.svg != NULL;

	if (r == CTL_OK && ((file != NULL && has_label_options) || (file == NULL && signature != NULL)))
		r = say(CTL_USAGE, "--signed FILE takes --signature FILE and no other option");
	if (r == CTL_OK && file == NULL)
		r = check_request(ctl, &request);
	if (r == CTL_OK)
		r = bench_begin(ctl, &settings);
	if (r == CTL_OK)
		r = file != NULL ? activate(ctl, settings, file, signature) : provision(ctl, settings, &request);
	settings_free(settings);
	return r;
}
