/* SPDX-License-Identifier: Apache-2.0 */
/* Service tickets: one release below the floor, on one device, once, until a date. Each refusal, and what stays as it was. */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"
#include "tests/unit/boot_rigs.h"
#include "tests/unit/ticket_fixture.h"
#include "tests/unit/trust_policy.h"

#include <errno.h>

#include <agent/bundle.h>

#include "update/ticket.h"
#include "update/trust.h"

#define FLOOR 7

static const struct bundle old_release = { .release = "r-old", .security_version = 3 };
static struct uses uses;

static void identity_key_write(const struct identity *id, const char *path)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, id->key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
}

static int setup(void **state)
{
	uses = (struct uses){ 0 };
	return device_setup(state);
}

/* Install @b, below the floor, by @ticket; with @err as it came. */
static int install_by(struct device *d, const struct bundle *b, const char *ticket, const char *device, struct agent_error **err)
{
	_cleanup_engine_ struct agent_update *u = engine(d);

	ticket_set(d, u, ticket, device, &uses);
	return install(d, u, b, FLOOR, err);
}

static void refused_as(struct device *d, const struct bundle *b, const char *ticket, const char *device, int r, const char *name)
{
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(install_by(d, b, ticket, device, &err), r);
	assert_error(&err, r, name);
	assert_int_equal(uses.n_used, 0);
	assert_true(slot_is_untouched(d, 1));
	assert_string_equal(env_read(d).primary, "a");
}

static void without_a_ticket_the_floor_holds(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(install(d, u, &old_release, FLOOR, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.stale");
}

static void a_ticket_lets_its_release_in_once_and_the_floor_stays(void **state)
{
	static const char env[] = FACTORY_ENV "slot.a.security_version=7\n";
	struct device *d = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	char ticket[TICKET_SIZE];
	struct boot_state s;
	uint64_t floor = 0;

	assert_int_equal(file_replace_at(AT_FDCWD, d->env, 0600, env, strlen(env), NULL), 0);
	ticket_make(d, &(struct ticket_spec){ .bundle = &old_release }, ticket);
	assert_int_equal(install_by(d, &old_release, ticket, DEVICE, NULL), 0);
	assert_int_equal(uses.n_used, 1);
	assert_true(uses.was_whole);
	assert_true(slot_holds_image(d, 1));
	assert_string_equal(reboot(d), "b");
	{
		_cleanup_engine_ struct agent_update *u = engine(d);

		assert_int_equal(agent_update_confirm(u, &floor, NULL), 0);
		assert_true(floor < FLOOR); /* a counter is not raised to what it is above of */
		assert_int_equal(agent_update_confirm_done(u, NULL), 0);
		/* The release of before is no less good than it was. */
		s = env_read(d);
		assert_true(boot_state_slot(&s, "a")->is_good);
	}
	/* The same ticket again, the counter one higher: also where all files were put back. */
	uses.counter = 1;
	assert_int_equal(install_by(d, &old_release, ticket, DEVICE, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.ticket-used");
	assert_int_equal(uses.n_used, 1);
	assert_true(slot_is_untouched(d, 0));
}

static void a_release_that_is_not_below_the_floor_uses_no_ticket(void **state)
{
	struct device *d = *state;
	const struct bundle next = { .release = "r-next", .security_version = FLOOR };
	char ticket[TICKET_SIZE];

	ticket_make(d, &(struct ticket_spec){ .bundle = &old_release }, ticket);
	assert_int_equal(install_by(d, &next, ticket, DEVICE, NULL), 0);
	assert_int_equal(uses.n_used, 0);
}

static void a_ticket_is_for_one_device_one_use_and_its_time(void **state)
{
	static const struct {
		struct ticket_spec spec;
		int r;
		const char *name;
	} rows[] = {
		{ { .device = "000bffff" }, -EPERM, "update.ticket-device" },
		{ { .device = "000b00112233aa" }, -EPERM, "update.ticket-device" }, /* begins as ours */
		{ { .counter = 1 }, -ESTALE, "update.ticket-used" },		     /* ahead: not made for this use */
		{ { .not_before_s = NOW_S + 1 }, -ESTALE, "update.ticket-too-early" },
		{ { .not_after_s = NOW_S - 1 }, -ESTALE, "update.ticket-expired" },
		{ { .release = "r-older" }, -EPERM, "update.ticket-release" },
		{ { .security_version = 2 }, -EPERM, "update.ticket-release" },
		{ { .security_version = 4 }, -EPERM, "update.ticket-release" },
		{ { .other_manifest = true }, -EPERM, "update.ticket-release" },
	};
	char ticket[TICKET_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ticket_spec spec = rows[i].spec;

		spec.bundle = &old_release;
		ticket_make(*state, &spec, ticket);
		refused_as(*state, &old_release, ticket, DEVICE, rows[i].r, rows[i].name);
	}
	ticket_make(*state, &(struct ticket_spec){ .bundle = &old_release }, ticket);
	uses.counter = 1;
	refused_as(*state, &old_release, ticket, DEVICE, -ESTALE, "update.ticket-used");
	/* The last second, and the first. */
	uses.counter = 0;
	ticket_make(*state, &(struct ticket_spec){ .bundle = &old_release, .not_before_s = NOW_S, .not_after_s = NOW_S }, ticket);
	assert_int_equal(install_by(*state, &old_release, ticket, DEVICE, NULL), 0);
}

static void a_ticket_is_signed_by_those_who_sign_bundles_and_by_as_many(void **state)
{
	struct device *d = *state;
	const struct agent_update_options two = { .n_min_signers = 2 };
	const struct bundle both = { .release = "r-old", .security_version = 3, .two_signers = true };
	_cleanup_engine_ struct agent_update *u = NULL;
	_cleanup_error_ struct agent_error *err = NULL;
	char ticket[TICKET_SIZE];

	ticket_make(d, &(struct ticket_spec){ .bundle = &old_release, .how = { .by_stranger = true } }, ticket);
	refused_as(d, &old_release, ticket, DEVICE, -EKEYREJECTED, "update.signer");
	u = engine_with(d, &two);
	ticket_make(d, &(struct ticket_spec){ .bundle = &both }, ticket);
	ticket_set(d, u, ticket, DEVICE, &uses);
	assert_int_equal(install(d, u, &both, FLOOR, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.threshold");
	ticket_make(d, &(struct ticket_spec){ .bundle = &both, .how = { .twice_the_same = true } }, ticket);
	ticket_set(d, u, ticket, DEVICE, &uses);
	assert_int_equal(install(d, u, &both, FLOOR, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.threshold");
	assert_int_equal(uses.n_used, 0);
	ticket_make(d, &(struct ticket_spec){ .bundle = &both, .how = { .two_signers = true } }, ticket);
	ticket_set(d, u, ticket, DEVICE, &uses);
	assert_int_equal(install(d, u, &both, FLOOR, NULL), 0);
	assert_int_equal(uses.n_used, 1);
}

/* A signer whom a change of signers took out signs no tickets any more. */
static void a_signer_of_before_signs_no_ticket(void **state)
{
	struct device *d = *state;
	_cleanup_trust_ struct trust trust = { 0 };
	_cleanup_bytes_ struct bytes signature = { 0 };
	_cleanup_close_ int state_fd = open(d->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct agent_update_ticket_facts facts;
	_cleanup_engine_ struct agent_update *u = NULL;
	_cleanup_error_ struct agent_error *err = NULL;
	char text[8192], ticket[TICKET_SIZE];

	trust_policy_make(text, 1, NOW_S - 100, 1, &d->second.cert, 1);
	sign(d, &(struct bundle){ .two_signers = true }, text, &signature);
	assert_int_equal(trust_load(d->ctx, d->trust, state_fd, 1, &trust, NULL), 0);
	assert_int_equal(trust_advance(d->ctx, &trust, state_fd, 1, text, strlen(text), signature.data, signature.size, NOW_S, NULL), 0);
	ticket_make(d, &(struct ticket_spec){ .bundle = &old_release }, ticket);
	u = engine(d);
	assert_int_equal(agent_update_check_ticket(u, ticket, DEVICE, 0, NOW_S, &facts, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.signer");
	/* And where somebody put the chain of before back, nobody's ticket counts. */
	assert_int_equal(unlinkat(state_fd, TRUST_FILE, 0), 0);
	assert_int_equal(agent_update_set_trust_floor(u, 1, NULL), 0);
	assert_int_equal(agent_update_check_ticket(u, ticket, DEVICE, 0, NOW_S, &facts, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.trust-restored");
}

static void a_signature_of_a_bundle_is_none_of_a_ticket_nor_the_other_way_round(void **state)
{
	struct device *d = *state;
	_cleanup_bytes_ struct bytes signature = { 0 }, archive = { 0 };
	_cleanup_engine_ struct agent_update *u = NULL;
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_close_ int fd = -1;
	char ticket[TICKET_SIZE], text[4096];
	char manifest[4096];

	/* The signed description of a bundle, with its own signature behind it. */
	manifest_of(d, &old_release, manifest, sizeof(manifest));
	sign(d, &old_release, manifest, &signature);
	ticket_join(manifest, &signature, ticket);
	refused_as(d, &old_release, ticket, DEVICE, -EBADMSG, "update.ticket");
	/* The same lines before it, which nobody signed. */
	ticket_lines(d, &(struct ticket_spec){ .bundle = &old_release }, text);
	ticket_join(text, &signature, ticket);
	refused_as(d, &old_release, ticket, DEVICE, -EKEYREJECTED, "update.signature");
	/* A policy of signers and its signature. */
	signature.size = 0;
	sign(d, &old_release, "{\"profile\":\"agent-trust-1\"}", &signature);
	ticket_join("{\"profile\":\"agent-trust-1\"}", &signature, ticket);
	refused_as(d, &old_release, ticket, DEVICE, -EBADMSG, "update.ticket");
	/* A ticket as description of a bundle: well signed, and no description. */
	signature.size = 0;
	sign(d, &old_release, text, &signature);
	cpio_member(&archive, "sw-description", text, strlen(text), NULL);
	cpio_member(&archive, "sw-description.sig", signature.data, signature.size, NULL);
	cpio_end(&archive);
	fd = bytes_fd(archive.data, archive.size);
	u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
	assert_int_equal(agent_update_install(u, fd, 0, NOW_S, NULL, NULL, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "manifest.syntax");
	assert_true(slot_is_untouched(d, 1));
}

static void no_byte_of_a_ticket_can_be_another(void **state)
{
	struct device *d = *state;
	struct agent_update_ticket_facts facts;
	_cleanup_engine_ struct agent_update *u = engine(d);
	char ticket[TICKET_SIZE], changed[TICKET_SIZE];
	size_t n_lines;

	ticket_make(d, &(struct ticket_spec){ .bundle = &old_release }, ticket);
	assert_int_equal(agent_update_check_ticket(u, ticket, DEVICE, 0, NOW_S, &facts, NULL), 0);
	assert_string_equal(facts.release_id, "r-old");
	assert_int_equal(facts.security_version, 3);
	n_lines = (size_t)(strstr(ticket, "-----BEGIN") - ticket);
	for (size_t i = 0; i < n_lines; i++)
		for (int bit = 0; bit < 8; bit += 3) {
			memcpy(changed, ticket, sizeof(ticket));
			changed[i] = (char)(changed[i] ^ (1 << bit));
			assert_true(agent_update_check_ticket(u, changed, DEVICE, 0, NOW_S, &facts, NULL) < 0);
		}
	/* Cut anywhere: what is left out of the signatures' last lines of padding is nothing. */
	for (size_t i = 0; i < strlen(ticket) - 2; i += i < n_lines + 40 ? 1 : 37) {
		memcpy(changed, ticket, sizeof(ticket));
		changed[i] = '\0';
		assert_true(agent_update_check_ticket(u, changed, DEVICE, 0, NOW_S, &facts, NULL) < 0);
	}
}

/* Signed by the right ones, and not what a ticket is. */
static void malformed_tickets_are_refused_by_name(void **state)
{
	static const char begin[] = TICKET_MAGIC;
	static const char *const bodies[] = {
		"", "device=000b00112233\n", "device=000b00112233\ndevice=000b00112233\n", "what\n", "=x\n", "more=1\n",
		"device=\n", "device=000B00112233\n", "device=xyz\n", "counter=-1\n", "counter=\n", "counter=0x1\n", "counter=99999999999999999999\n",
		"release=\n", "release=a b\n", "manifest=00\n", "manifest=zz\n",
	};
	struct device *d = *state;
	char text[4096], ticket[TICKET_SIZE], wanted[4096];
	static char large[AGENT_UPDATE_TICKET_MAX + 2];
	struct ticket t;

	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		_cleanup_bytes_ struct bytes signature = { 0 };

		snprintf(text, sizeof(text), "%s%s", begin, bodies[i]);
		sign(d, &old_release, text, &signature);
		ticket_join(text, &signature, ticket);
		refused_as(d, &old_release, ticket, DEVICE, -EBADMSG, "update.ticket");
	}
	/* One line less, and one twice. */
	ticket_lines(d, &(struct ticket_spec){ .bundle = &old_release }, wanted);
	assert_int_equal(ticket_parse(wanted, strlen(wanted), &t, NULL), 0);
	for (const char *line = wanted + strlen(begin); *line != '\0'; line = strchr(line, '\n') + 1) {
		size_t n = strcspn(line, "\n") + 1;

		snprintf(text, sizeof(text), "%.*s%s", (int)(line - wanted), wanted, line + n);
		assert_int_equal(ticket_parse(text, strlen(text), &t, NULL), -EBADMSG);
		snprintf(text, sizeof(text), "%s%.*s", wanted, (int)n, line);
		assert_int_equal(ticket_parse(text, strlen(text), &t, NULL), -EBADMSG);
	}
	ticket_lines(d, &(struct ticket_spec){ .bundle = &old_release, .not_before_s = NOW_S + 5, .not_after_s = NOW_S + 4 }, text);
	assert_int_equal(ticket_parse(text, strlen(text), &t, NULL), -EBADMSG);
	/* What stands behind the signatures, other blocks, too much of all. */
	ticket_make(d, &(struct ticket_spec){ .bundle = &old_release }, ticket);
	snprintf(large, sizeof(large), "%s\n", ticket);
	refused_as(d, &old_release, large, DEVICE, -EBADMSG, "update.ticket");
	snprintf(large, sizeof(large), "%s%s", ticket, strstr(ticket, "-----BEGIN"));
	refused_as(d, &old_release, large, DEVICE, -EBADMSG, "update.ticket");
	snprintf(large, sizeof(large), "%s-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n", wanted);
	refused_as(d, &old_release, large, DEVICE, -EBADMSG, "update.ticket");
	memset(large, 'a', sizeof(large) - 1);
	refused_as(d, &old_release, large, DEVICE, -EMSGSIZE, "update.ticket");
}

/* The counter does not answer, or a TPM that is gone: nothing boots by the ticket, and the slot that runs is as it was. */
static void a_ticket_that_cannot_be_used_up_lets_nothing_in(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;
	char ticket[TICKET_SIZE];

	ticket_make(d, &(struct ticket_spec){ .bundle = &old_release }, ticket);
	uses.result = -EIO;
	ticket_set(d, u, ticket, DEVICE, &uses);
	assert_int_equal(install(d, u, &old_release, FLOOR, &err), -EIO);
	assert_error(&err, -EIO, "tpm.io");
	assert_int_equal(stage_of(u), AGENT_UPDATE_FAILED);
	assert_int_equal(agent_update_settle(u, NULL), 0);
	assert_string_equal(reboot(d), "a");
	assert_string_equal(env_read(d).primary, "a");
	/* It was not used, so it still is good for one. */
	uses.result = 0;
	assert_int_equal(install(d, u, &old_release, FLOOR, NULL), 0);
	assert_string_equal(reboot(d), "b");
}

/* A bundle that breaks off on its way costs no ticket. */
static void a_broken_bundle_uses_no_ticket(void **state)
{
	struct device *d = *state;
	struct bundle broken = old_release;
	char ticket[TICKET_SIZE];
	_cleanup_error_ struct agent_error *err = NULL;

	broken.break_chunk = 2;
	ticket_make(d, &(struct ticket_spec){ .bundle = &old_release }, ticket);
	assert_int_equal(install_by(d, &broken, ticket, DEVICE, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "update.chunk");
	assert_int_equal(uses.n_used, 0);
	assert_int_equal(install_by(d, &old_release, ticket, DEVICE, NULL), 0);
	assert_int_equal(uses.n_used, 1);
}

/* All other rules hold: product, signers of the bundle, what failed before. */
static void a_ticket_replaces_the_floor_and_nothing_else(void **state)
{
	struct device *d = *state;
	const struct bundle elsewhere = { .release = "r-old", .security_version = 3, .product = "gw:2" };
	const struct bundle unsigned_one = { .release = "r-old", .security_version = 3, .by_stranger = true };
	char ticket[TICKET_SIZE];

	ticket_make(d, &(struct ticket_spec){ .bundle = &elsewhere }, ticket);
	refused_as(d, &elsewhere, ticket, DEVICE, -EPERM, "update.product");
	ticket_make(d, &(struct ticket_spec){ .bundle = &unsigned_one }, ticket);
	refused_as(d, &unsigned_one, ticket, DEVICE, -EKEYREJECTED, "update.signer");
}

/* What the maker's side makes is what a device takes; two who sign one after the other. */
static void the_maker_s_side_makes_what_a_device_takes(void **state)
{
	struct device *d = *state;
	_cleanup_bytes_ struct bytes bytes = { 0 };
	_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .n_min_signers = 2 });
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_free_ char *text = NULL;
	char path[4][128], cert[2][128], key[2][128];
	struct agent_bundle_signer signers[2] = { { 0 } };
	struct agent_ticket_options o = { .device = DEVICE, .counter = 0, .not_after_s = NOW_S + 100, .signers = signers, .n_signers = 1, .time_s = NOW_S };
	struct agent_update_ticket_facts facts;
	const char *const names[] = { "bundle", "one", "two", "stock" };

	for (size_t i = 0; i < 4; i++)
		snprintf(path[i], sizeof(path[i]), "%s/%s", d->dir.path, names[i]);
	for (size_t i = 0; i < 2; i++) {
		snprintf(cert[i], sizeof(cert[i]), "%s/%s.pem", d->trust, i == 0 ? "signer" : "second");
		snprintf(key[i], sizeof(key[i]), "%s/%zu.key", d->dir.path, i);
		identity_key_write(i == 0 ? &d->signer : &d->second, key[i]);
		signers[i] = (struct agent_bundle_signer){ .certificate = cert[i], .key = key[i] };
	}
	bundle_make(d, &old_release, &bytes);
	assert_int_equal(file_replace_at(AT_FDCWD, path[0], 0600, bytes.data, bytes.size, NULL), 0);
	o.bundle = path[0];
	o.out = path[1];
	assert_int_equal(agent_bundle_ticket(d->ctx, &o, NULL), 0);
	assert_int_equal(file_read_at(AT_FDCWD, path[1], AGENT_UPDATE_TICKET_MAX, &text, NULL, NULL), 0);
	assert_int_equal(agent_update_check_ticket(u, text, DEVICE, 0, NOW_S, &facts, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.threshold");
	assert_int_equal(agent_bundle_ticket_sign(d->ctx, path[1], path[2], signers, 1, NOW_S, &err), -EEXIST);
	assert_error(&err, -EEXIST, "bundle.signer");
	assert_int_equal(agent_bundle_ticket_sign(d->ctx, path[1], path[2], signers + 1, 1, NOW_S, NULL), 0);
	free(TAKE_PTR(text));
	assert_int_equal(file_read_at(AT_FDCWD, path[2], AGENT_UPDATE_TICKET_MAX, &text, NULL, NULL), 0);
	assert_int_equal(agent_update_check_ticket(u, text, DEVICE, 0, NOW_S, &facts, NULL), 0);
	/* Nothing is overwritten, and nothing half is made. */
	assert_int_equal(agent_bundle_ticket(d->ctx, &o, &err), -EEXIST);
	assert_error(&err, -EEXIST, "bundle.exists");
	bytes.size = 0;
	bundle_make(d, &(struct bundle){ .is_stock = true }, &bytes);
	assert_int_equal(file_replace_at(AT_FDCWD, path[0], 0600, bytes.data, bytes.size, NULL), 0);
	o.out = path[3];
	assert_int_equal(agent_bundle_ticket(d->ctx, &o, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "bundle.source");
	assert_true(access(path[3], F_OK) < 0);
	o.device = "Gateway 7";
	assert_int_equal(agent_bundle_ticket(d->ctx, &o, &err), -EINVAL);
	assert_error(&err, -EINVAL, "bundle.options");
	o.device = DEVICE;
	o.not_after_s = NOW_S;
	assert_int_equal(agent_bundle_ticket(d->ctx, &o, &err), -EINVAL);
	assert_error(&err, -EINVAL, "bundle.options");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, device_teardown)
		T(without_a_ticket_the_floor_holds),
		T(a_ticket_lets_its_release_in_once_and_the_floor_stays),
		T(a_release_that_is_not_below_the_floor_uses_no_ticket),
		T(a_ticket_is_for_one_device_one_use_and_its_time),
		T(a_ticket_is_signed_by_those_who_sign_bundles_and_by_as_many),
		T(a_signer_of_before_signs_no_ticket),
		T(a_signature_of_a_bundle_is_none_of_a_ticket_nor_the_other_way_round),
		T(no_byte_of_a_ticket_can_be_another),
		T(malformed_tickets_are_refused_by_name),
		T(a_ticket_that_cannot_be_used_up_lets_nothing_in),
		T(a_broken_bundle_uses_no_ticket),
		T(a_ticket_replaces_the_floor_and_nothing_else),
		T(the_maker_s_side_makes_what_a_device_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
