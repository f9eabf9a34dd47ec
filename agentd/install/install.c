/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/install/install.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <syslog.h>

#include "agentd/common/service.h"
#include "agentd/install/asked.h"
#include "agentd/install/pages.h"
#include "agentd/install/script.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"
#include "base/thread.h"

#define PROGRESS_US 100000	/* ten reports in a second */
#define VERSIONS_FILE_MAX 65536

struct installer {
	const struct settings *settings;
	sd_event *event;
	struct installer_hooks hooks;
	struct agent_context *ctx;
	struct agent_update *update;
	struct install_status status;	/* while an installation runs */
	struct install_status offer;	/* the worker fills its members offer_*, signed_s */
	sd_event_source *wake_source;
	int wake_fd;
	sd_event_source *news;	/* tells what came too soon after the last report */
	bool is_running;

	pthread_t thread;
	int bundle_fd;
	struct install_order order;

	pthread_mutex_t lock;	/* what follows is passed from the worker to the loop */
	bool has_news;		/* the loop was woken and has not told it yet */
	enum agent_update_stage stage;
	uint64_t done_bytes, total_bytes;
	bool has_ended;
	int result;
	struct agent_error *error;
	enum { ANSWER_NONE, ANSWER_WANTED, ANSWER_ASKED, ANSWER_HERE } answer_state;
	enum install_question question;
	pthread_cond_t answer_is_here;
	struct secret answer;	/* on its way to the engine */
	const struct agent_recipient *recipients; /* what is to be opened for the key, while it is wanted; NULL: the one of the device */
	size_t n_recipients;
	int answer_result;
	struct agent_error *answer_error;
};

static void on_log(void *userdata, const char *message)
{
	service_log(LOG_DEBUG, "%s", message);
}

/* agent.slot=NAME of the kernel command line: the boot loader's own word for which slot it started. */
static char *slot_of_command_line(void)
{
	char text[4096], *cursor = text, *word;
	_cleanup_close_ int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read_full(fd, text, sizeof(text) - 1);

	if (n < 0)
		return NULL;
	text[n] = '\0';
	while ((word = strsep(&cursor, " \n")) != NULL)
		if (strncmp(word, "agent.slot=", 11) == 0)
			return strdup(word + 11);
	return NULL;
}

static int raw_signatures(const struct settings *s, enum agent_update_raw *ret_raw, struct agent_error **err)
{
	static const char *const names[] = { "none", "rsa", "rsa-pss" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(s->update.raw_signatures, names[i]) == 0) {
			*ret_raw = (enum agent_update_raw)i;
			return 0;
		}
	}
	return agent_error_set(err, -EINVAL, "update.options", "update.raw_signatures is \"%s\", must be none, rsa or rsa-pss", s->update.raw_signatures);
}

/* "b=stable,copy-2" */
static int selections_set(const struct settings *s, struct agent_update *update, struct agent_error **err)
{
	int r = 0;

	for (char **row = s->update.selections; r == 0 && *row != NULL; row++) {
		const char *equal = strchr(*row, '=');
		char name[INSTALL_TEXT];

		if (equal == NULL || equal - *row >= INSTALL_TEXT)
			return agent_error_set(err, -EINVAL, "manifest.selection", "update.selections: \"%s\" must be \"SLOT=SET,MODE\"", *row);
		snprintf(name, sizeof(name), "%.*s", (int)(equal - *row), *row);
		r = agent_update_set_selection(update, name, equal + 1, err);
	}
	return r;
}

static int bootenv_allow(const struct settings *s, struct agent_update *update, struct agent_error **err)
{
	int r = 0;

	for (char **row = s->update.bootenv; r == 0 && *row != NULL; row++)
		r = agent_update_allow_bootenv(update, *row, err);
	return r;
}

/* Lines "NAME VERSION", as SWUpdate's /etc/sw-versions; words that no bundle of ours can name say nothing. */
static int versions_read(const struct settings *s, struct agent_update *update, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	char *cursor, *line;
	int r = s->update.versions_file[0] == '\0' ? -ENOENT : file_read_at(AT_FDCWD, s->update.versions_file, VERSIONS_FILE_MAX, &text, NULL, NULL);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return agent_error_set(err, r, "update.versions", "cannot read update.versions_file %s: %s", s->update.versions_file, strerror(-r));
	r = 0;
	cursor = text;
	while (r != -ENOSPC && (line = strsep(&cursor, "\n")) != NULL) {
		char name[INSTALL_TEXT], version[INSTALL_TEXT];

		if (line[0] != '#' && sscanf(line, "%64s %64s", name, version) == 2)
			r = agent_update_add_version(update, name, version, NULL);
	}
	return r == -ENOSPC ? agent_error_set(err, r, "update.versions", "update.versions_file %s names too many versions", s->update.versions_file) : 0;
}

static int on_policy(void *userdata, const struct agent_update_release *release, struct agent_error **err);
static int on_unwrap(void *userdata, const struct agent_recipient *recipients, size_t n, uint8_t ret_key[AGENT_RECIPIENT_KEY_MAX], size_t *ret_size,
		     struct agent_error **err);

static int on_script(void *userdata, const struct agent_update_script *script, struct agent_error **err)
{
	const struct installer *in = userdata;

	return script_run(in->settings, script, err);
}

static int scripts_set(struct installer *in, struct agent_update *update, struct agent_error **err)
{
	const char *policy = in->settings->update.scripts;

	if (strcmp(policy, "refuse") == 0)
		return 0;
	if (strcmp(policy, "run") != 0)
		return agent_error_set(err, -EINVAL, "update.options", "update.scripts is \"%s\", must be refuse or run", policy);
	return agent_update_set_script(update, on_script, in, err);
}

static int engine_open(struct installer *in, struct agent_error **err)
{
	const struct settings *s = in->settings;
	_cleanup_free_ char *trust_dir = settings_trust_path(s, "", "update");
	_cleanup_free_ char *booted = NULL;
	struct agent_update *update = NULL;
	enum agent_update_raw raw;
	int r;

	if (in->update != NULL)
		return 0;
	if (trust_dir == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the update engine");
	r = raw_signatures(s, &raw, err);
	if (r < 0)
		return r;
	booted = s->update.booted_slot[0] != '\0' ? strdup(s->update.booted_slot) : slot_of_command_line();
	r = agent_update_new(in->ctx, &(struct agent_update_options){
		.trust_dir = trust_dir,
		.n_min_signers = (unsigned)s->update.min_signers,
		.product = s->device.product,
		.state_dir = s->paths.install_dir,
		.boot_backend = s->update.boot_backend,
		.boot_config = s->update.boot_config,
		.booted_slot = booted,
		.allow_compat = s->update.allow_compat,
		.raw_signatures = raw,
		.require_crl = s->update.require_crl,
		.n_tries = (unsigned)s->update.tries,
	}, &update, err);
	for (size_t i = 0; r == 0 && i < s->update.slots.n; i++) {
		const struct slot_setting *slot = &s->update.slots.items[i];

		r = agent_update_add_slot(update, slot->slot_class, slot->name, slot->path, err);
	}
	if (r == 0)
		r = selections_set(s, update, err);
	if (r == 0)
		r = bootenv_allow(s, update, err);
	if (r == 0)
		r = versions_read(s, update, err);
	if (r == 0)
		r = agent_update_set_policy(update, on_policy, in, err);
	if (r == 0)
		r = agent_update_set_unwrap(update, on_unwrap, in, err);
	if (r == 0)
		r = scripts_set(in, update, err);
	if (r < 0) {
		agent_update_free(update);
		return r;
	}
	in->update = update;
	return 0;
}

static void copy_text(char ret_text[INSTALL_TEXT], const char *text)
{
	snprintf(ret_text, INSTALL_TEXT, "%s", text == NULL ? "" : text);
}

static int status_read(struct installer *in, struct install_status *ret_status, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *keys = NULL;
	struct agent_update_status status;
	int r = agent_update_get_status(in->update, &status, err);

	if (r < 0)
		return r;
	*ret_status = (struct install_status){ .security_version = status.security_version, .n_tries_left = status.n_tries_left };
	snprintf(ret_status->stage, sizeof(ret_status->stage), "%s", agent_update_stage_name(status.stage));
	copy_text(ret_status->booted_slot, status.booted_slot);
	copy_text(ret_status->target_slot, status.target_slot);
	copy_text(ret_status->version, status.version);
	copy_text(ret_status->release_id, status.release_id);
	copy_text(ret_status->failed_release_id, status.failed_release_id);
	copy_text(ret_status->manifest_sha256, status.manifest_sha256);
	snprintf(ret_status->signers, sizeof(ret_status->signers), "%s", status.signers == NULL ? "" : status.signers);
	if (agent_update_get_trusted_keys(in->update, &keys, &ret_status->trust_version, &why) < 0)
		service_log(LOG_WARNING, "%s (%s)", agent_error_message(why), agent_error_name(why));
	else
		snprintf(ret_status->trusted_keys, sizeof(ret_status->trusted_keys), "%s", keys);
	return 0;
}

/* ---- in the worker ------------------------------------------------------------------------------------------------ */

static void wake(struct installer *in)
{
	const uint64_t one = 1;

	(void)!write(in->wake_fd, &one, sizeof(one));
}

static void on_progress(void *userdata, enum agent_update_stage stage, uint64_t done_bytes, uint64_t total_bytes)
{
	struct installer *in = userdata;
	bool is_known;

	pthread_mutex_lock(&in->lock);
	in->stage = stage;
	in->done_bytes = done_bytes;
	in->total_bytes = total_bytes;
	is_known = in->has_news;
	in->has_news = true;
	pthread_mutex_unlock(&in->lock);
	if (!is_known)
		wake(in);
}

/* Ask the loop, and wait for what core says; on success the answer is in in->answer, and the caller wipes it. */
static int core_ask(struct installer *in, enum install_question question, const struct agent_recipient *recipients, size_t n,
		    struct agent_error **err)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += INSTALL_ANSWER_S + 5; /* what the bus says of a late answer comes first */
	pthread_mutex_lock(&in->lock);
	in->question = question;
	in->recipients = recipients;
	in->n_recipients = n;
	in->answer_state = ANSWER_WANTED;
	wake(in);
	while (in->answer_state != ANSWER_HERE && r == 0)
		r = -pthread_cond_timedwait(&in->answer_is_here, &in->lock, &until);
	if (in->answer_state != ANSWER_HERE)
		r = agent_error_set(err, -ETIMEDOUT, "update.answer", "agentd did not answer in the middle of the installation");
	else /* also one that came with the last moment: it is not lost, and core knows that it was given */
		r = in->answer_result < 0 ? in->answer_result : 0;
	if (in->answer_error != NULL)
		(void)agent_error_move(err, &in->answer_error);
	in->recipients = NULL;
	in->answer_state = ANSWER_NONE;
	pthread_mutex_unlock(&in->lock);
	return r;
}

/* Only now, when the manifest is known to be good: what parsed it up to here had no secret at hand. */
static int key_get(struct installer *in, struct agent_error **err)
{
	int r = core_ask(in, QUESTION_KEY, NULL, 0, err);

	if (r == 0 && in->answer.size <= AGENT_UPDATE_IV_SIZE)
		r = agent_error_set(err, -EBADMSG, "update.key", "the key for updates is too short");
	if (r == 0)
		r = agent_update_set_key(in->update, in->answer.data + AGENT_UPDATE_IV_SIZE, in->answer.size - AGENT_UPDATE_IV_SIZE, in->answer.data, err);
	secret_free(&in->answer);
	return r;
}

/* The bundle brought its key along, for the TPM to open. */
static int on_unwrap(void *userdata, const struct agent_recipient *recipients, size_t n, uint8_t ret_key[AGENT_RECIPIENT_KEY_MAX], size_t *ret_size,
		     struct agent_error **err)
{
	struct installer *in = userdata;
	int r = core_ask(in, QUESTION_UNWRAP, recipients, n, err);

	if (r == 0 && (in->answer.size == 0 || in->answer.size > AGENT_RECIPIENT_KEY_MAX))
		r = agent_error_set(err, -EBADMSG, "update.key", "agentd sent a key of %zu bytes", in->answer.size);
	if (r == 0) {
		memcpy(ret_key, in->answer.data, in->answer.size);
		*ret_size = in->answer.size;
	}
	secret_free(&in->answer);
	return r;
}

static int ticket_use(void *userdata, struct agent_error **err)
{
	struct installer *in = userdata;
	int r = core_ask(in, QUESTION_TICKET, NULL, 0, err);

	secret_free(&in->answer);
	return r;
}

/* The decision was core's; here the bundle is held against it. In the worker, while the loop reads other members only. */
static int on_policy(void *userdata, const struct agent_update_release *release, struct agent_error **err)
{
	struct installer *in = userdata;

	in->offer.signed_s = release->signed_s;
	if (in->order.looks_only) {
		copy_text(in->offer.offer_release_id, release->release_id);
		copy_text(in->offer.offer_version, release->version);
		copy_text(in->offer.offer_manifest_sha256, release->manifest_sha256);
		snprintf(in->offer.offer_kind, sizeof(in->offer.offer_kind), "%s", release->kind);
		snprintf(in->offer.offer_advisory, sizeof(in->offer.offer_advisory), "%s", release->advisory);
		in->offer.offer_security_version = release->security_version;
		in->offer.offer_bytes = release->stored_bytes;
		return agent_error_set(err, -ECANCELED, UPDATE_LOOKED, "release %s was looked at only", release->release_id);
	}
	if (in->order.release_id[0] != '\0' && strcmp(in->order.release_id, release->release_id) != 0)
		return agent_error_set(err, -EPERM, "update.policy", "release %s was to be installed, the bundle is release %s", in->order.release_id,
				       release->release_id);
	/* Two bundles may have one release id: what was looked into, and shown to whoever approved it, is this one or none. */
	if (in->order.manifest_sha256[0] != '\0' && strcmp(in->order.manifest_sha256, release->manifest_sha256) != 0)
		return agent_error_set(err, -EPERM, "update.policy",
				       "release %s was to be installed with the manifest %.16s..., this bundle of that name has another one, %.16s...",
				       release->release_id, in->order.manifest_sha256, release->manifest_sha256);
	pages_give_back();
	return release->needs_key ? key_get(in, err) : 0;
}

static int bundle_install(struct installer *in, struct agent_error **err)
{
	bool is_asked = asked_is_source(in->bundle_fd), is_stream = false;
	struct asked asked;
	int r;

	pages_give_back();
	r = is_asked ? asked_open(in->bundle_fd, &asked, &is_stream, err) : 0;

	if (r < 0)
		return r;
	r = agent_update_set_trust_floor(in->update, in->order.trust_floor, err);
	if (r == 0 && in->order.ticket != NULL)
		r = agent_update_set_ticket(in->update, &(struct agent_update_ticket){ .text = in->order.ticket, .device = in->order.device,
					    .counter = in->order.tickets_used, .use = ticket_use, .userdata = in }, err);
	if (r < 0)
		return r;
	if (is_asked && !is_stream)
		return agent_update_install_from(in->update, asked_read, &asked, in->order.floor, in->order.now_s, on_progress, in, err);
	return agent_update_install(in->update, in->bundle_fd, in->order.floor, in->order.now_s, on_progress, in, err);
}

static void *worker(void *userdata)
{
	struct installer *in = userdata;
	struct agent_error *err = NULL;
	int r = bundle_install(in, &err);

	(void)!agent_update_set_key(in->update, NULL, 0, NULL, NULL); /* for one installation; wiped */
	(void)!agent_update_set_ticket(in->update, NULL, NULL);

	/* A sender that still writes learns at once that nobody listens. */
	close_fdp(&in->bundle_fd);
	pthread_mutex_lock(&in->lock);
	in->has_ended = true;
	in->result = r;
	in->error = err;
	pthread_mutex_unlock(&in->lock);
	wake(in);
	return NULL;
}

/* ---- in the loop ---------------------------------------------------------------------------------------------------- */

static int on_news(sd_event_source *source, uint64_t usec, void *userdata);

static void status_refresh(struct installer *in)
{
	snprintf(in->status.stage, sizeof(in->status.stage), "%s", agent_update_stage_name(in->stage));
	in->status.done_bytes = in->done_bytes;
	in->status.total_bytes = in->total_bytes;
}

static void news_tell(struct installer *in)
{
	struct agent_error *err;
	bool has_ended;
	int r;

	pthread_mutex_lock(&in->lock);
	status_refresh(in);
	in->has_news = false;
	has_ended = in->has_ended;
	r = in->result;
	err = has_ended ? TAKE_PTR(in->error) : NULL;
	pthread_mutex_unlock(&in->lock);
	in->news = sd_event_source_disable_unref(in->news);
	if (!in->is_running)
		return;
	in->hooks.progress(in->hooks.userdata, in->status.stage, in->status.done_bytes, in->status.total_bytes);
	if (!has_ended) {
		/* Nothing is told before it ends. What comes meanwhile is, also when the bundle stalls behind it. */
		if (sd_event_add_time_relative(in->event, &in->news, CLOCK_MONOTONIC, PROGRESS_US, 0, on_news, in) < 0)
			in->news = NULL;
		return;
	}
	pthread_join(in->thread, NULL);
	in->is_running = false;
	in->hooks.done(in->hooks.userdata, r, &err);
}

/* The pause after a report is over. */
static int on_news(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct installer *in = userdata;
	bool has_news;

	in->news = sd_event_source_disable_unref(in->news);
	pthread_mutex_lock(&in->lock);
	has_news = in->has_news;
	pthread_mutex_unlock(&in->lock);
	if (has_news)
		news_tell(in);
	return 0;
}

static int on_wake(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct installer *in = userdata;
	uint64_t count;
	const struct agent_recipient *recipients;
	enum install_question question;
	bool has_ended, wants_answer;
	size_t n_recipients;

	(void)!read(fd, &count, sizeof(count));
	pthread_mutex_lock(&in->lock);
	has_ended = in->has_ended;
	wants_answer = in->answer_state == ANSWER_WANTED;
	question = in->question;
	recipients = in->recipients; /* the worker waits, so they stay */
	n_recipients = in->n_recipients;
	if (wants_answer)
		in->answer_state = ANSWER_ASKED;
	pthread_mutex_unlock(&in->lock);
	if (wants_answer && in->is_running)
		in->hooks.ask(in->hooks.userdata, question, recipients, n_recipients);
	if (has_ended || in->news == NULL)
		news_tell(in);
	return 0;
}

void installer_answer(struct installer *in, enum install_question question, const void *data, size_t size, int r, struct agent_error **err)
{
	pthread_mutex_lock(&in->lock);
	if (in->answer_state == ANSWER_ASKED && in->question == question) {
		if (r >= 0 && size > 0 && secret_copy(&in->answer, data, size) < 0)
			r = agent_error_set(err, -ENOMEM, "update.memory", "no memory for an answer");
		in->answer_result = r;
		agent_error_free(in->answer_error);
		in->answer_error = r < 0 ? TAKE_PTR(*err) : NULL;
		in->answer_state = ANSWER_HERE;
		pthread_cond_signal(&in->answer_is_here);
	}
	pthread_mutex_unlock(&in->lock);
}

int installer_new(sd_event *event, const struct settings *settings, const struct installer_hooks *hooks, struct installer **ret_installer,
		  struct agent_error **err)
{
	struct installer *in = calloc(1, sizeof(*in));
	pthread_condattr_t attr;
	int r;

	if (in == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the installer");
	pthread_mutex_init(&in->lock, NULL);
	/* Somebody may set the clock meanwhile. */
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&in->answer_is_here, &attr);
	pthread_condattr_destroy(&attr);
	in->settings = settings;
	in->event = event;
	in->hooks = *hooks;
	in->bundle_fd = -1;
	in->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = in->wake_fd < 0 ? -errno : agent_context_new(&in->ctx);
	if (r >= 0)
		r = sd_event_add_io(event, &in->wake_source, in->wake_fd, EPOLLIN, on_wake, in);
	if (r < 0) {
		installer_free(in);
		return agent_error_set(err, r, "update.start", "cannot start the installer: %s", strerror(-r));
	}
	agent_set_log_fn(in->ctx, on_log, NULL);
	*ret_installer = in;
	return 0;
}

struct installer *installer_free(struct installer *in)
{
	if (in == NULL)
		return NULL;
	sd_event_source_disable_unref(in->wake_source);
	sd_event_source_disable_unref(in->news);
	close_fdp(&in->wake_fd);
	agent_update_free(in->update);
	agent_context_unref(in->ctx);
	agent_error_free(in->answer_error);
	free(in->order.ticket);
	pthread_cond_destroy(&in->answer_is_here);
	pthread_mutex_destroy(&in->lock);
	free(in);
	return NULL;
}

bool installer_is_running(const struct installer *in)
{
	return in->is_running;
}

static int idle_engine(struct installer *in, struct agent_error **err)
{
	if (in->is_running)
		return agent_error_set(err, -EBUSY, "update.busy", "an installation is under way");
	return engine_open(in, err);
}

int installer_settle(struct installer *in, struct agent_error **err)
{
	int r = idle_engine(in, err);

	return r < 0 ? r : agent_update_settle(in->update, err);
}

int installer_begin(struct installer *in, int fd, struct install_order *order, struct agent_error **err)
{
	_cleanup_close_ int owned_fd = fd;
	int r;

	/* The worker reads in a blocking way, whatever the other end of the pipe set up. */
	r = idle_engine(in, err);
	if (r == 0)
		r = status_read(in, &in->status, err);
	if (r < 0)
		return r;
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	in->bundle_fd = TAKE_FD(owned_fd);
	free(in->order.ticket);
	in->order = *order;
	order->ticket = NULL;
	in->offer = (struct install_status){ 0 };
	in->stage = AGENT_UPDATE_RECEIVING;
	in->done_bytes = in->total_bytes = 0;
	in->has_ended = in->has_news = false;
	in->answer_state = ANSWER_NONE;
	snprintf(in->status.stage, sizeof(in->status.stage), "%s", agent_update_stage_name(AGENT_UPDATE_RECEIVING));
	r = thread_start(&in->thread, NULL, worker, in);
	if (r < 0) {
		close_fdp(&in->bundle_fd);
		in->bundle_fd = -1;
		return agent_error_set(err, r, "update.start", "cannot start the installation: %s", strerror(-r));
	}
	in->is_running = true;
	return 0;
}

int installer_check_ticket(struct installer *in, const char *text, const struct install_order *order, struct agent_update_ticket_facts *ret_facts,
			   struct agent_error **err)
{
	int r = idle_engine(in, err);

	if (r == 0)
		r = agent_update_set_trust_floor(in->update, order->trust_floor, err);
	return r < 0 ? r : agent_update_check_ticket(in->update, text, order->device, order->tickets_used, order->now_s, ret_facts, err);
}

int installer_get_status(struct installer *in, struct install_status *ret_status, struct agent_error **err)
{
	int r;

	if (in->is_running) {
		pthread_mutex_lock(&in->lock);
		status_refresh(in);
		pthread_mutex_unlock(&in->lock);
		*ret_status = in->status;
		return 0;
	}
	r = engine_open(in, err);
	r = r < 0 ? r : status_read(in, ret_status, err);
	if (r < 0)
		return r;
	memcpy(ret_status->offer_release_id, in->offer.offer_release_id, sizeof(in->offer.offer_release_id));
	memcpy(ret_status->offer_version, in->offer.offer_version, sizeof(in->offer.offer_version));
	memcpy(ret_status->offer_kind, in->offer.offer_kind, sizeof(in->offer.offer_kind));
	memcpy(ret_status->offer_advisory, in->offer.offer_advisory, sizeof(in->offer.offer_advisory));
	memcpy(ret_status->offer_manifest_sha256, in->offer.offer_manifest_sha256, sizeof(in->offer.offer_manifest_sha256));
	ret_status->offer_security_version = in->offer.offer_security_version;
	ret_status->offer_bytes = in->offer.offer_bytes;
	ret_status->signed_s = in->offer.signed_s;
	return 0;
}

int installer_confirm(struct installer *in, uint64_t *ret_floor, struct agent_error **err)
{
	int r = idle_engine(in, err);

	return r < 0 ? r : agent_update_confirm(in->update, ret_floor, err);
}

int installer_confirm_done(struct installer *in, struct agent_error **err)
{
	int r = idle_engine(in, err);

	return r < 0 ? r : agent_update_confirm_done(in->update, err);
}

int installer_rollback(struct installer *in, uint64_t floor, struct agent_error **err)
{
	int r = idle_engine(in, err);

	return r < 0 ? r : agent_update_rollback(in->update, floor, err);
}
