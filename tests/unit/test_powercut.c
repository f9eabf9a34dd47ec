/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power cuts. Every write, name change and sync of a device's life is logged: slots, journal, boot environment, the chain of signers'
 * policies, and each increment of the counters of floor and service tickets in NV memory; and when scripts of bundles ran. Then each instant of it
 * is replayed for every boot backend: with all that was not yet synced, with nothing of it, and with random parts of it (POWERCUT_SUBSETS per instant,
 * default 1), in which writes are lost, out of order or torn between sectors. In each of these states the boot loader starts something whole that is not below the floor, over several boots, and what the power cut
 * broke off can be done again.
 *
 * What an fsync() covers: the bytes of its file, or the names in its folder. Names not synced yet are lost from the end, as from the
 * journal of ext4. EFI variables are written whole, at once and in order.
 */
#include "config.h"

#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"
#include "tests/unit/boot_rigs.h"

#include <errno.h>

#include "crypto/cms_private.h"
#include "update/trust.h"
#include "tests/unit/powercut_log.h"
#include "tests/unit/powercut_replay.h"
#include "tests/unit/ticket_fixture.h"
#include "tests/unit/trust_policy.h"

#define REDO_EVERY 32

/* ---- a life ---------------------------------------------------------------------------------------------------------- */

#define RELEASES 10
#define BY_TICKET 7	/* below the floor that release 6 raised */
#define BAD_SCRIPT 8	/* its script fails after the images */
static const uint64_t security_version_of[RELEASES + 1] = { 0, 5, 6, 6, 6, 7, 7, 6, 7, 8, 9 };
_Static_assert(RELEASES < RELEASES_MAX, "room for all of them");

/* The images differ from their first byte on. */
static void image_make(struct device *d, int release)
{
	for (size_t i = 0; i < sizeof(d->image); i++)
		d->image[i] = (uint8_t)(i * 7 + i / 251 + (size_t)release * 31);
	d->image[0] = (uint8_t)release;
}

/* One increment in NV memory, as core makes it when agentd-install asks. */
static int ticket_count(void *userdata, struct agent_error **err)
{
	tickets_now++;
	if (is_recording)
		event_new(TICKET, "")->floor = tickets_now;
	return 0;
}

/* The script of a bundle: it takes its time, and the power may go meanwhile. */
#define SCRIPT_TEXT "echo a script\n"
struct script_run {
	int release;
	size_t began_at;	/* events that were there before the installation */
};

static int script_note(void *userdata, const struct agent_update_script *script, struct agent_error **err)
{
	const struct script_run *run = userdata;
	bool fails = script->is_after && run->release == BAD_SCRIPT;
	struct event *e;

	if (!is_recording)
		return fails ? -EPERM : 0;
	/* Those before the images run on a device that nothing was changed on. */
	for (size_t i = run->began_at; !script->is_after && i < n_events; i++)
		if (events[i].kind != SCRIPT_RUNS && events[i].kind != SCRIPT_ENDED)
			fail_msg("release %d: event %zu (kind %d, %s) comes before its script", run->release, i, (int)events[i].kind, events[i].path);
	e = event_new(SCRIPT_RUNS, "");
	e->floor = (uint64_t)run->release;
	e->is_after = script->is_after != 0;
	if (fails)
		return agent_error_set(err, -EPERM, "update.script", "the script failed");
	e = event_new(SCRIPT_ENDED, "");
	e->floor = (uint64_t)run->release;
	e->is_after = script->is_after != 0;
	return 0;
}

static int release_install(struct device *d, int release)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	struct script_run run = { .release = release, .began_at = n_events };
	char name[16], ticket[TICKET_SIZE], sha[65], scripts[256];
	const struct bundle b = { .release = name, .security_version = security_version_of[release], .two_signers = true, .sections = scripts,
				  .extra_agent = "scripts = [ \"both\" ];", .early = { { "both", SCRIPT_TEXT } } };

	image_make(d, release);
	snprintf(name, sizeof(name), "r-%d", release);
	sha256_text(SCRIPT_TEXT, strlen(SCRIPT_TEXT), sha);
	snprintf(scripts, sizeof(scripts), "scripts = ( { filename = \"both\"; type = \"shellscript\"; sha256 = \"%s\"; } );", sha);
	assert_int_equal(agent_update_set_script(u, script_note, &run, NULL), 0);
	if (release == BY_TICKET) {
		/* For the first use of all: the second one finds the counter ahead of it. */
		ticket_make(d, &(struct ticket_spec){ .bundle = &b, .how = { .two_signers = true } }, ticket);
		assert_int_equal(agent_update_set_ticket(u, &(struct agent_update_ticket){ .text = ticket, .device = DEVICE, .counter = tickets_now,
							 .use = ticket_count }, NULL), 0);
	}
	return install(d, u, &b, floor_now, NULL);
}

/* Core's order: confirmed, floor up in NV memory, done. */
static int release_confirm(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	uint64_t floor = 0;
	int r = agent_update_confirm(u, &floor, NULL);

	if (r < 0)
		return r;
	/* One TPM2_NV_Increment after the other, and the power may go between any two. */
	while (floor_now < floor) {
		floor_now++;
		if (is_recording)
			event_new(FLOOR, "")->floor = floor_now;
	}
	return agent_update_confirm_done(u, NULL);
}

static int release_rollback(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);

	return agent_update_rollback(u, floor_now, NULL);
}

static int settle(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);

	return agent_update_settle(u, NULL);
}

/* As members.c does it when a bundle brings one: the keys of both count before, one of them after it. */
static size_t signers_changed_at;	/* events that were there when it was said to be durable */

static void signers_change(struct device *d)
{
	_cleanup_trust_ struct trust trust = { 0 };
	_cleanup_bytes_ struct bytes signature = { 0 };
	_cleanup_close_ int state_fd = open(d->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char text[8192];

	trust_policy_make(text, 1, NOW_S - 100, 1, &d->second.cert, 1);
	sign(d, &(struct bundle){ .two_signers = true }, text, &signature);
	assert_int_equal(trust_load(d->ctx, d->trust, state_fd, 1, &trust, NULL), 0);
	assert_int_equal(trust_advance(d->ctx, &trust, state_fd, 1, text, strlen(text), signature.data, signature.size, NOW_S, NULL), 0);
	signers_changed_at = n_events;
}

static void life_record(struct device *d)
{
	floor_now = tickets_now = 0;
	record_begin(d);
	/* Two good updates; one that is not liked; one taken back before its boot; one that never confirms; a good one again. */
	for (int i = 1; i <= 2; i++) {
		assert_int_equal(release_install(d, i), 0);
		assert_string_equal(reboot(d), i == 1 ? "b" : "a");
		assert_int_equal(release_confirm(d), 0);
	}
	signers_change(d);
	assert_int_equal(release_install(d, 3), 0);
	reboot(d);
	assert_int_equal(release_rollback(d), 0);
	assert_string_equal(reboot(d), "a");
	assert_int_equal(settle(d), 0);
	assert_int_equal(release_install(d, 4), 0);
	assert_int_equal(release_rollback(d), 0);
	assert_int_equal(release_install(d, 5), 0);
	for (int i = 0; i < 3; i++) {
		reboot(d);
		assert_int_equal(settle(d), 0);
	}
	assert_string_equal(d->booted, "a");
	assert_int_equal(release_install(d, 6), 0);
	assert_string_equal(reboot(d), "b");
	assert_int_equal(release_confirm(d), 0);
	/* One whose script fails when all its bytes are there: it never boots. */
	assert_int_equal(release_install(d, BAD_SCRIPT), -EPERM);
	assert_string_equal(reboot(d), "b");
	/* Back to an older one, by a ticket; the floor stays, and so does what it is in. */
	assert_int_equal(release_install(d, BY_TICKET), 0);
	assert_string_equal(reboot(d), "a");
	assert_int_equal(release_confirm(d), 0);
	is_recording = false;
}

/* ---- what must hold -------------------------------------------------------------------------------------------------- */

static void boots_something_whole(struct device *d, const char *when)
{
	const char *slot = reboot(d);
	const struct content *c = &crash.files[names_find(&crash.names, slot[0] == 'a' ? "a.img" : "b.img")];
	int release = c->data[0];
	static uint8_t factory[SLOT_BYTES] = { 0xaa };

	if (release == 0xaa) {
		if (memcmp(c->data, factory, SLOT_BYTES) != 0 || floor_now > 0)
			fail_msg("%s: slot %s boots with the factory's image, floor %" PRIu64, when, slot, floor_now);
		return;
	}
	if (release < 1 || release > RELEASES)
		fail_msg("%s: slot %s boots and holds nothing", when, slot);
	image_make(d, release);
	if (memcmp(c->data, d->image, IMAGE_BYTES) != 0)
		fail_msg("%s: slot %s boots and holds half of release %d", when, slot, release);
	if (!has_run[release][0] || !has_run[release][1])
		fail_msg("%s: slot %s boots release %d, whose scripts have not run to their end", when, slot, release);
	if (release == BY_TICKET && tickets_now == 0)
		fail_msg("%s: slot %s boots what a ticket lets in, and no ticket was used up", when, slot);
	if (security_version_of[release] < floor_now && release != BY_TICKET)
		fail_msg("%s: slot %s boots release %d below the floor %" PRIu64, when, slot, release, floor_now);
}

/* The old signers or the new ones, never none and, once it was said, never the old ones again. */
static void has_signers(struct device *d, size_t at, const char *when)
{
	_cleanup_trust_ struct trust trust = { 0 };
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_close_ int state_fd = open(d->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (trust_load(d->ctx, d->trust, state_fd, 1, &trust, &err) < 0)
		fail_msg("%s: no signers count: %s", when, agent_error_message(err));
	if (trust.version > 1 || (at + 1 >= signers_changed_at && trust.version != 1))
		fail_msg("%s: the signers are those of version %" PRIu64, when, trust.version);
	if (!cms_trust_has(trust.certs, d->second.cert) || cms_trust_has(trust.certs, d->signer.cert) != (trust.version == 0))
		fail_msg("%s: the signers of version %" PRIu64 " are not whole", when, trust.version);
}

static int step_again(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	struct agent_update_status s = { 0 };
	enum agent_update_stage stage;
	bool must_boot;
	int r = agent_update_settle(u, NULL);

	if (r == 0)
		r = agent_update_get_status(u, &s, NULL);
	if (r < 0)
		return r;
	stage = s.stage;
	must_boot = stage == AGENT_UPDATE_TRYING && strcmp(s.booted_slot, s.target_slot) != 0;
	agent_update_free(TAKE_PTR(u));
	if (must_boot)
		reboot(d);
	r = stage == AGENT_UPDATE_TRYING || stage == AGENT_UPDATE_CONFIRMED ? release_confirm(d) : 0;
	/* The ticket that was used is none any more, whatever the disk says. */
	if (r == 0 && tickets_now > 0 && release_install(d, BY_TICKET) != -ESTALE)
		return -EEXIST;
	/* Whatever became of it: the next one goes in and is confirmed. */
	for (int release = RELEASES - 1; r == 0 && release <= RELEASES; release++) {
		r = release_install(d, release);
		if (r == 0)
			reboot(d);
		if (r == 0)
			r = release_confirm(d);
	}
	return r;
}

static unsigned long n_states, n_redone;

static void state_check(struct device *d, enum share share, size_t at)
{
	const struct event *e = &events[at];
	const uint64_t floor = floor_now, tickets = tickets_now;
	char when[256];

	crash_make(share);
	device_make();
	/* The power cut leaves no program that remembers. */
	snprintf(when, sizeof(when), "%s, event %zu (kind %d, %s), %s", d->rig->backend->name, at, (int)e->kind, e->path,
		 share == ALL_OF_IT ? "all" : share == NOTHING_OF_IT ? "nothing" : "some");
	has_signers(d, at, when);
	for (int boot = 0; boot < 4; boot++) {
		int r;

		boots_something_whole(d, when);
		r = settle(d);
		if (r < 0)
			fail_msg("%s: settle says %d", when, r);
	}
	n_states++;
	if (n_states % REDO_EVERY == 0) {
		int r;

		device_make();
		reboot(d);
		r = step_again(d);
		if (r < 0)
			fail_msg("%s: what broke off cannot be done again: %d", when, r);
		n_redone++;
		on_disk[0].size = on_disk[1].size = 0; /* the slots are other ones now */
	}
	floor_now = floor;
	tickets_now = tickets;
}

static unsigned n_subsets(void)
{
	const char *text = getenv("POWERCUT_SUBSETS");

	return text == NULL ? 1 : (unsigned)strtoul(text, NULL, 10);
}

static void every_instant_leaves_a_system_that_boots(void **state)
{
	struct device *d = *state;
	unsigned long before = n_states;

	life_record(d);
	is_replaying = true;
	floor_now = tickets_now = 0;
	memset(has_run, 0, sizeof(has_run));
	n_pending = 0;
	stable.names = first_names;
	for (int i = 0; i < n_files; i++) {
		stable.files[i].size = 0;
		if (i < FILES_MAX && first_files[i].data != NULL)
			content_copy(&stable.files[i], &first_files[i]);
	}
	on_disk[0].size = on_disk[1].size = 0;
	for (size_t at = 0; at < n_events; at++) {
		advance(&events[at]);
		state_check(d, ALL_OF_IT, at);
		if (n_pending == 0)
			continue;
		state_check(d, NOTHING_OF_IT, at);
		for (unsigned i = 0; i < n_subsets(); i++)
			state_check(d, SOME_OF_IT, at);
	}
	is_replaying = false;
	print_message("# %s: %zu events, %lu states\n", d->rig->backend->name, n_events, n_states - before);
	for (size_t i = 0; i < n_events; i++)
		free(TAKE_PTR(events[i].data));
	for (int i = 0; i < n_files; i++)
		free(TAKE_PTR(first_files[i].data));
}

/* ---- rigs ------------------------------------------------------------------------------------------------------------ */

/* The vendor's program as a thread, so that its writes are logged as well. */
static int script_fd = -1;
static pthread_t script_thread;

static void *script_serve(void *arg)
{
	for (;;) {
		int peer = accept(script_fd, NULL, NULL);

		if (peer < 0)
			return NULL;
		script_answer(arg, peer);
		close(peer);
	}
}

static void rig_script_thread_make(struct device *d)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char path[128];

	snprintf(path, sizeof(path), "%s.state", d->env);
	text_write(path, FACTORY_ENV);
	script_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, d->env);
	assert_int_equal(bind(script_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(script_fd, 4), 0);
	assert_int_equal(pthread_create(&script_thread, NULL, script_serve, d), 0);
}

static void rig_script_thread_unmake(struct device *d)
{
	shutdown(script_fd, SHUT_RDWR);
	pthread_join(script_thread, NULL);
	close(script_fd);
}

static const struct boot_rig rig_script_in_thread = {
	.backend = &boot_script, .tells_booted = true, .make = rig_script_thread_make, .unmake = rig_script_thread_unmake,
};

/* These are the boot loader's own renames and removals, which the libc calls above do not see. */
static void systemd_count_down_noted(struct device *d, const struct boot_state *next)
{
	struct names before = { 0 };

	before = live;
	rig_systemd_count_down(d, next);
	if (!is_recording)
		return;
	for (size_t i = 0; i < before.n; i++) {
		char full[256];
		const char *was = before.items[i].path;

		snprintf(full, sizeof(full), "%s/%s", top, was);
		if (access(full, F_OK) == 0 || strstr(was, "/agent-") == NULL)
			continue;
		for (unsigned left = 0; left <= 9; left++)
			for (unsigned done = 1; done <= 9; done++) {
				char to[PATH_SIZE];
				struct event *e;

				snprintf(to, sizeof(to), "env/loader/entries/agent-%s+%u-%u.conf", next->primary, left, done);
				snprintf(full, sizeof(full), "%s/%s", top, to);
				if (access(full, F_OK) < 0 || names_find(&live, to) >= 0)
					continue;
				e = event_new(RENAME, was);
				strcpy(e->to, to);
				names_set(&live, to, names_find(&live, was));
				names_remove(&live, was);
				event_new(SYNC_FOLDER, "env/loader/entries");
			}
	}
}

static void efi_count_down_noted(struct device *d, const struct boot_state *next)
{
	rig_efi_count_down(d, next);
	if (is_recording && names_find(&live, "vars/BootNext-" EFI_GUID) >= 0) {
		event_new(REMOVE, "vars/BootNext-" EFI_GUID);
		names_remove(&live, "vars/BootNext-" EFI_GUID);
	}
}

static const struct boot_rig rig_systemd_noted = { .backend = &boot_systemd, .make = rig_systemd_make, .count_down = systemd_count_down_noted };
static const struct boot_rig rig_efi_noted = { .backend = &boot_efi, .make = rig_efi_make, .count_down = efi_count_down_noted };

static int setup_rig(void **state)
{
	return device_setup_rig(state, *state);
}

int main(void)
{
	static const struct boot_rig *const rigs[] = {
		&rig_efi_noted, &rig_file, &rig_grub, &rig_script_in_thread, &rig_systemd_noted,
#if defined(HAVE_UBOOTENV)
		&rig_uboot,
#endif
	};
	struct CMUnitTest tests[ARRAY_SIZE(rigs)];
	char names[ARRAY_SIZE(rigs)][96];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(rigs); i++) {
		snprintf(names[i], sizeof(names[i]), "%s: every_instant_leaves_a_system_that_boots", rigs[i]->backend->name);
		tests[i] = (struct CMUnitTest){ names[i], every_instant_leaves_a_system_that_boots, setup_rig, device_teardown, (void *)(uintptr_t)rigs[i] };
	}
	r = cmocka_run_group_tests(tests, NULL, NULL);
	print_message("# %lu states, after %lu of them an update went in again\n", n_states, n_redone);
	for (int i = 0; i < FILES_MAX; i++) {
		free(stable.files[i].data);
		free(crash.files[i].data);
	}
	free(on_disk[0].data);
	free(on_disk[1].data);
	return r;
}
