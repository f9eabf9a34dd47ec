/* SPDX-License-Identifier: Apache-2.0 */
/* agent_client against an agentd that is played in a child process, and application signatures. */
#include "config.h"

#include "test.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <agent/client.h>
#include <agent/context.h>
#include <agent/openssl.h>

#include "agentd/common/operations.h"
#include "agentd/common/peer.h"
#include "tests/unit/software_signer.h"

/* What agentd does on its n-th connection. */
enum act {
	ACT_SERVE,
	ACT_DROP_ON_SIGN, /* hangs up instead of signing, once */
	ACT_OTHER_KEY,
	ACT_REFUSE,
	ACT_SILENT,
	ACT_NONSENSE,
	ACT_END
};

struct lab {
	struct temp_dir dir;
	char path[100];
	pid_t child;
	struct agent_context *ctx;
};

/* ---- agentd, played --------------------------------------------------------------------------------------------- */

static struct agent_signer *keys[2];
static struct software_key software[2];

static int answer_bytes(sd_bus_message *m, const void *data, size_t size, const char *label)
{
	sd_bus_message *reply = NULL;
	int r = sd_bus_message_new_method_return(m, &reply);

	if (r >= 0)
		r = sd_bus_message_append_array(reply, 'y', data, size);
	if (r >= 0 && label != NULL)
		r = sd_bus_message_append_basic(reply, 's', label);
	if (r >= 0)
		r = sd_bus_send(sd_bus_message_get_bus(m), reply, NULL);
	sd_bus_message_unref(reply);
	return r;
}

static int answer_sign(sd_bus_message *m, struct agent_signer *signer)
{
	uint8_t sig[AGENT_SIGNATURE_MAX];
	uint32_t scheme, hash;
	const void *digest;
	const char *name;
	size_t size, n;

	if (sd_bus_message_read(m, "suu", &name, &scheme, &hash) < 0 || sd_bus_message_read_array(m, 'y', &digest, &size) < 0 ||
	    agent_signer_sign(signer, scheme, hash, digest, size, sig, &n, NULL) < 0)
		_exit(3);
	return answer_bytes(m, sig, n, NULL);
}

static int answer_app(sd_bus_message *m, struct agent_signer *signer)
{
	uint8_t digest[AGENT_DIGEST_MAX], sig[AGENT_SIGNATURE_MAX];
	const char *name, *context;
	enum agent_hash hash;
	const void *data;
	size_t size, n;

	if (sd_bus_message_read(m, "ss", &name, &context) < 0 || sd_bus_message_read_array(m, 'y', &data, &size) < 0 ||
	    agent_app_signature_digest(agent_signer_get_type(signer), "uid:7", context, data, size, &hash, digest, &n, NULL) < 0 ||
	    agent_signer_sign(signer, AGENT_SIGN_ECDSA, hash, digest, n, sig, &n, NULL) < 0)
		_exit(3);
	return answer_bytes(m, sig, n, "uid:7");
}

/* Seals by turning bits over, if every argument came as it was sent. */
static int answer_seal(sd_bus_message *m, bool is_unseal)
{
	struct { const void *data; size_t size; } part[5];
	static uint8_t out[AGENT_CLIENT_SEALED_MAX];
	size_t n = is_unseal ? 3 : 5;
	uint32_t policy, mask;
	const char *name;
	int r;

	r = sd_bus_message_read(m, "s", &name);
	if (r >= 0 && !is_unseal)
		r = sd_bus_message_read(m, "uu", &policy, &mask);
	for (size_t i = 0; i < n && r >= 0; i++)
		r = sd_bus_message_read_array(m, 'y', &part[i].data, &part[i].size);
	if (r < 0 || strcmp(name, "vault") != 0)
		_exit(3);
	if (!is_unseal && (policy != AGENT_SEAL_PCR || mask != 0x10001 || part[0].size != 6 || part[1].size != 3 || part[2].size != 4 ||
			   part[3].size != 64 || ((const uint8_t *)part[3].data)[0] != 0xaa || ((const uint8_t *)part[3].data)[32] != 0xbb))
		_exit(3);
	if (is_unseal && (part[0].size != 10 || part[1].size != 4))
		_exit(3);
	for (size_t i = 0; i < part[n - 1].size; i++)
		out[i] = ((const uint8_t *)part[n - 1].data)[i] ^ 0xff;
	return answer_bytes(m, out, part[n - 1].size, NULL);
}

static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct agent_error *err = NULL;
	const enum act *act = userdata;
	struct agent_signer *signer = keys[*act == ACT_OTHER_KEY];
	const char *member = sd_bus_message_get_member(m);
	const uint8_t *spki;
	uint8_t type = 0;
	size_t size;

	sd_bus_message_get_type(m, &type);
	if (type != SD_BUS_MESSAGE_METHOD_CALL)
		return 0;
	if (*act == ACT_REFUSE) {
		agent_error_set(&err, -EPERM, "key.refused", "not for you");
		return peer_reply_error(m, -EPERM, &err) < 0 ? -1 : 1;
	}
	if (*act == ACT_SILENT)
		return 1;
	if (*act == ACT_NONSENSE)
		return sd_bus_reply_method_return(m, "s", "what?") < 0 ? -1 : 1;
	if (strcmp(member, "KeyPublic") == 0) {
		agent_signer_get_public(signer, &spki, &size);
		return answer_bytes(m, spki, size, NULL) < 0 ? -1 : 1;
	}
	if (strcmp(member, "SetupGet") == 0)
		return sd_bus_reply_method_return(m, "s", "factory") < 0 ? -1 : 1;
	if (*act == ACT_DROP_ON_SIGN) {
		sd_bus_close(sd_bus_message_get_bus(m));
		return 1;
	}
	if (strcmp(member, "Seal") == 0 || strcmp(member, "Unseal") == 0)
		return answer_seal(m, strcmp(member, "Unseal") == 0) < 0 ? -1 : 1;
	return (strcmp(member, "KeySign") == 0 ? answer_sign(m, signer) : answer_app(m, signer)) < 0 ? -1 : 1;
}

static void play(int listen_fd, const enum act *acts)
{
	for (; *acts != ACT_END; acts++) {
		sd_bus *bus = NULL;
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), r;

		if (fd < 0 || peer_serve(fd, &bus, NULL) < 0 || sd_bus_add_filter(bus, NULL, on_call, (void *)(uintptr_t)acts) < 0)
			_exit(2);
		do {
			r = sd_bus_process(bus, NULL);
			if (r == 0)
				r = sd_bus_wait(bus, UINT64_MAX);
		} while (r >= 0 && sd_bus_is_open(bus) > 0);
		sd_bus_close_unref(bus);
	}
	_exit(0);
}

static void lab_start(struct lab *lab, const enum act *acts)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	temp_dir_make(&lab->dir);
	snprintf(lab->path, sizeof(lab->path), "%s/vendor.sock", lab->dir.path);
	strcpy(address.sun_path, lab->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(agent_context_new(&lab->ctx), 0);
	lab->child = fork();
	if (lab->child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		play(fd, acts);
	}
	close(fd);
}

static void lab_end(struct lab *lab)
{
	kill(lab->child, SIGKILL);
	waitpid(lab->child, NULL, 0);
	agent_context_unref(lab->ctx);
	temp_dir_remove(&lab->dir);
}

static int sign(struct agent_signer *signer, struct agent_error **err)
{
	uint8_t digest[32] = { 1 }, sig[AGENT_SIGNATURE_MAX];
	size_t size;

	return agent_signer_sign(signer, AGENT_SIGN_ECDSA, AGENT_HASH_SHA256, digest, sizeof(digest), sig, &size, err);
}

/* ---- tests ------------------------------------------------------------------------------------------------------ */

static void a_signer_signs_through_agentd(void **state)
{
	static const enum act acts[] = { ACT_SERVE, ACT_END };
	struct agent_client *client;
	struct agent_signer *signer;
	const char *setup = NULL;
	struct lab lab;

	lab_start(&lab, acts);
	assert_int_equal(agent_client_open(lab.ctx, lab.path, &client, NULL), 0);
	assert_int_equal(agent_client_get_setup(client, &setup, NULL), 0);
	assert_string_equal(setup, "factory");
	assert_int_equal(agent_client_signer(client, "device", &signer, NULL), 0);
	client = agent_client_unref(client); /* the signer keeps it */
	assert_string_equal(agent_signer_get_backend(signer), "agentd");
	assert_int_equal(agent_signer_get_type(signer), AGENT_KEY_EC_P256);
	for (int i = 0; i < 3; i++)
		assert_int_equal(sign(signer, NULL), 0);
	agent_signer_unref(signer);
	lab_end(&lab);
}

static void a_restart_of_agentd_is_not_noticed(void **state)
{
	static const enum act acts[] = { ACT_DROP_ON_SIGN, ACT_SERVE, ACT_END };
	struct agent_client *client;
	struct agent_signer *signer;
	struct lab lab;

	lab_start(&lab, acts);
	assert_int_equal(agent_client_open(lab.ctx, lab.path, &client, NULL), 0);
	assert_int_equal(agent_client_signer(client, "device", &signer, NULL), 0);
	assert_int_equal(sign(signer, NULL), 0);
	assert_int_equal(sign(signer, NULL), 0);
	agent_signer_unref(signer);
	agent_client_unref(client);
	lab_end(&lab);
}

static void another_key_after_a_restart_is_refused(void **state)
{
	static const enum act acts[] = { ACT_DROP_ON_SIGN, ACT_OTHER_KEY, ACT_END };
	struct agent_error *err = NULL;
	struct agent_client *client;
	struct agent_signer *signer;
	struct lab lab;

	lab_start(&lab, acts);
	assert_int_equal(agent_client_open(lab.ctx, lab.path, &client, NULL), 0);
	assert_int_equal(agent_client_signer(client, "device", &signer, NULL), 0);
	assert_int_equal(sign(signer, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "client.key-changed");
	assert_int_equal(sign(signer, &err), -EKEYREJECTED); /* and stays so */
	assert_error(&err, -EKEYREJECTED, "client.key-changed");
	agent_signer_unref(signer);
	agent_client_unref(client);
	lab_end(&lab);
}

static void an_agentd_that_goes_away_again_and_again_is_an_error(void **state)
{
	static const enum act acts[] = { ACT_DROP_ON_SIGN, ACT_DROP_ON_SIGN, ACT_END };
	struct agent_error *err = NULL;
	struct agent_client *client;
	struct agent_signer *signer;
	struct lab lab;

	lab_start(&lab, acts);
	assert_int_equal(agent_client_open(lab.ctx, lab.path, &client, NULL), 0);
	assert_int_equal(agent_client_signer(client, "device", &signer, NULL), 0);
	assert_int_equal(sign(signer, &err), -ENOTCONN);
	assert_error(&err, -ENOTCONN, "bus.lost");
	waitpid(lab.child, NULL, 0); /* gone for good: nobody listens */
	assert_int_equal(sign(signer, &err), -ECONNREFUSED);
	assert_error(&err, -ECONNREFUSED, "bus.connect");
	agent_signer_unref(signer);
	agent_client_unref(client);
	agent_context_unref(lab.ctx);
	temp_dir_remove(&lab.dir);
}

static void what_agentd_says_is_passed_on(void **state)
{
	static const struct {
		enum act acts[2];
		int r;
		const char *name;
	} cases[] = {
		{ { ACT_REFUSE, ACT_END }, -EPERM, "key.refused" },
		{ { ACT_SILENT, ACT_END }, -ETIMEDOUT, "bus.timeout" },
		{ { ACT_NONSENSE, ACT_END }, -EPROTO, "bus.protocol" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char label[AGENT_APP_LABEL_MAX + 1] = "";
		struct agent_error *err = NULL;
		struct agent_client *client;
		struct agent_signer *signer;
		uint8_t sig[AGENT_SIGNATURE_MAX];
		const char *setup;
		struct lab lab;
		size_t size;

		lab_start(&lab, cases[i].acts);
		assert_int_equal(agent_client_open(lab.ctx, lab.path, &client, NULL), 0);
		agent_client_set_timeout(client, 200);
		assert_int_equal(agent_client_signer(client, "device", &signer, &err), cases[i].r);
		assert_error(&err, cases[i].r, cases[i].name);
		assert_int_equal(agent_client_app_sign(client, "app", "c", "m", 1, sig, &size, label, &err), cases[i].r);
		assert_error(&err, cases[i].r, cases[i].name);
		assert_int_equal(agent_client_get_setup(client, &setup, &err), cases[i].r);
		assert_error(&err, cases[i].r, cases[i].name);
		agent_client_unref(client);
		lab_end(&lab);
	}
}

static void a_secret_is_sealed_with_all_its_options(void **state)
{
	static const enum act acts[] = { ACT_SERVE, ACT_NONSENSE, ACT_END };
	static const uint8_t secret[AGENT_CLIENT_SECRET_MAX + 1] = "secret";
	static uint8_t opened[AGENT_CLIENT_SECRET_MAX], big[AGENT_CLIENT_SEALED_MAX + 1];
	struct agent_pcr_values values = { .mask = 0x10001 };
	struct agent_seal_options options = {
		.policy = AGENT_SEAL_PCR, .pcr_mask = 0x10001, .expected = &values, .signer = (const uint8_t *)"signer", .signer_size = 6,
		.ref = (const uint8_t *)"ref", .ref_size = 3, .auth = (const uint8_t *)"auth", .auth_size = 4,
	};
	struct agent_unseal_options show = { .signatures = "signatures", .signatures_size = 10, .auth = (const uint8_t *)"auth", .auth_size = 4 };
	struct agent_error *err = NULL;
	struct agent_client *client;
	uint8_t *sealed = NULL;
	size_t n = 0, n_opened = 0;
	struct lab lab;

	memset(values.value[0], 0xaa, AGENT_TPM_PCR_SIZE);
	memset(values.value[16], 0xbb, AGENT_TPM_PCR_SIZE);
	lab_start(&lab, acts);
	assert_int_equal(agent_client_open(lab.ctx, lab.path, &client, &err), 0);
	assert_int_equal(agent_client_seal(client, "vault", secret, AGENT_CLIENT_SECRET_MAX, &options, &sealed, &n, &err), 0);
	assert_int_equal(n, AGENT_CLIENT_SECRET_MAX);
	assert_memory_not_equal(sealed, secret, 6);
	/* Mistakes that are not sent at all. */
	assert_int_equal(agent_client_seal(client, NULL, secret, 6, &options, &sealed, &n, &err), -EINVAL);
	assert_error(&err, -EINVAL, "client.argument");
	assert_int_equal(agent_client_seal(client, "vault", secret, sizeof(secret), &options, &sealed, &n, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "seal.size");
	assert_int_equal(agent_client_seal(client, "vault", secret, 0, &options, &sealed, &n, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "seal.size");
	options.pcr_mask = 1;
	assert_int_equal(agent_client_seal(client, "vault", secret, 6, &options, &sealed, &n, &err), -EINVAL);
	assert_error(&err, -EINVAL, "seal.argument");
	assert_int_equal(agent_client_unseal(client, "vault", sealed, n, &show, NULL, 0, &n_opened, &err), -EINVAL);
	assert_error(&err, -EINVAL, "client.argument");
	assert_int_equal(agent_client_unseal(client, "vault", big, sizeof(big), &show, opened, sizeof(opened), &n_opened, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "seal.size");
	assert_int_equal(agent_client_unseal(client, "vault", big, sizeof(big) - 5, &show, opened, sizeof(opened), &n_opened, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "seal.size");
	/* A buffer that is too short is left alone. */
	assert_int_equal(agent_client_unseal(client, "vault", sealed, n, &show, opened, 5, &n_opened, &err), -ENOBUFS);
	assert_error(&err, -ENOBUFS, "seal.buffer");
	assert_int_equal(opened[0], 0);
	assert_int_equal(agent_client_unseal(client, "vault", sealed, n, &show, opened, sizeof(opened), &n_opened, &err), 0);
	assert_int_equal(n_opened, n);
	assert_memory_equal(opened, secret, n);
	agent_client_unref(client);
	assert_int_equal(agent_client_open(lab.ctx, lab.path, &client, &err), 0);
	assert_int_equal(agent_client_unseal(client, "vault", sealed, n, &show, opened, sizeof(opened), &n_opened, &err), -EPROTO);
	assert_error(&err, -EPROTO, "bus.protocol");
	agent_client_unref(client);
	free(sealed);
	lab_end(&lab);
}

static void callers_mistakes_are_refused(void **state)
{
	struct agent_error *err = NULL;
	struct agent_context *ctx;
	struct agent_client *client;
	char path[200];

	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(agent_context_new(&ctx), 0);
	assert_int_equal(agent_client_open(NULL, NULL, &client, &err), -EINVAL);
	assert_error(&err, -EINVAL, "client.argument");
	assert_int_equal(agent_client_open(ctx, path, &client, &err), -ENAMETOOLONG);
	assert_error(&err, -ENAMETOOLONG, "bus.connect");
	assert_int_equal(agent_client_open(ctx, "/nonexistent/x.sock", &client, &err), -ENOENT);
	assert_error(&err, -ENOENT, "bus.connect");
	assert_int_equal(agent_client_signer(NULL, "device", NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "client.argument");
	assert_null(agent_client_unref(NULL));
	agent_context_unref(ctx);
}

static void an_application_signature_is_bound_to_key_label_context_and_message(void **state)
{
	static const enum act acts[] = { ACT_SERVE, ACT_END };
	char label[AGENT_APP_LABEL_MAX + 1];
	uint8_t sig[AGENT_SIGNATURE_MAX];
	struct agent_error *err = NULL;
	const uint8_t *spki, *other;
	struct agent_client *client;
	size_t size, spki_size, other_size;
	struct lab lab;

	lab_start(&lab, acts);
	assert_int_equal(agent_client_open(lab.ctx, lab.path, &client, NULL), 0);
	assert_int_equal(agent_client_app_sign(client, "app", "reading", "12.5", 4, sig, &size, label, NULL), 0);
	assert_string_equal(label, "uid:7");
	agent_signer_get_public(keys[0], &spki, &spki_size);
	agent_signer_get_public(keys[1], &other, &other_size);
#define VERIFY(spki, n, label, context, data, n_data) agent_app_signature_verify(lab.ctx, spki, n, label, context, data, n_data, sig, size, &err)
	assert_int_equal(VERIFY(spki, spki_size, "uid:7", "reading", "12.5", 4), 0);
	assert_int_equal(VERIFY(spki, spki_size, "uid:7", "reading", "12.6", 4), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "app.signature");
	assert_int_equal(VERIFY(spki, spki_size, "uid:7", "reading", "12.5", 3), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "app.signature");
	assert_int_equal(VERIFY(spki, spki_size, "uid:7", "command", "12.5", 4), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "app.signature");
	assert_int_equal(VERIFY(spki, spki_size, "uid:8", "reading", "12.5", 4), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "app.signature");
	assert_int_equal(VERIFY(other, other_size, "uid:7", "reading", "12.5", 4), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "app.signature");
	assert_int_equal(VERIFY(spki, spki_size - 1, "uid:7", "reading", "12.5", 4), -EINVAL);
	assert_error(&err, -EINVAL, "signer.key");
	assert_int_equal(VERIFY(spki, spki_size, "", "reading", "12.5", 4), -EINVAL);
	assert_error(&err, -EINVAL, "app.label");
	assert_int_equal(VERIFY(spki, spki_size, "uid:7", "read\ning", "12.5", 4), -EINVAL);
	assert_error(&err, -EINVAL, "app.context");
	sig[size - 1] ^= 1;
	assert_int_equal(VERIFY(spki, spki_size, "uid:7", "reading", "12.5", 4), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "app.signature");
	agent_client_unref(client);
	lab_end(&lab);
}

static void each_key_type_verifies(void **state)
{
	static const enum agent_key_type types[] = { AGENT_KEY_EC_P256, AGENT_KEY_EC_P384, AGENT_KEY_RSA_2048 };
	static uint8_t message[AGENT_APP_MESSAGE_MAX + 1];
	struct agent_error *err = NULL;
	struct agent_context *ctx;

	assert_int_equal(agent_context_new(&ctx), 0);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct software_key key = { 0 };
		struct agent_signer *signer = software_signer(&key, types[i]);
		uint8_t digest[AGENT_DIGEST_MAX], sig[AGENT_SIGNATURE_MAX];
		const uint8_t *spki;
		size_t n, size, spki_size;
		enum agent_hash hash;

		assert_int_equal(agent_app_signature_digest(types[i], "l", "c", message, AGENT_APP_MESSAGE_MAX, &hash, digest, &n, NULL), 0);
		assert_int_equal(hash, types[i] == AGENT_KEY_EC_P384 ? AGENT_HASH_SHA384 : AGENT_HASH_SHA256);
		assert_int_equal(agent_signer_sign(signer, types[i] == AGENT_KEY_RSA_2048 ? AGENT_SIGN_RSA_PSS : AGENT_SIGN_ECDSA, hash, digest, n,
						   sig, &size, NULL), 0);
		agent_signer_get_public(signer, &spki, &spki_size);
		assert_int_equal(agent_app_signature_verify(ctx, spki, spki_size, "l", "c", message, AGENT_APP_MESSAGE_MAX, sig, size, &err), 0);
		assert_int_equal(agent_app_signature_verify(ctx, spki, spki_size, "l", "d", message, AGENT_APP_MESSAGE_MAX, sig, size, &err),
				 -EKEYREJECTED);
		assert_error(&err, -EKEYREJECTED, "app.signature");
		agent_signer_unref(signer);
	}
	assert_int_equal(agent_app_signature_verify(ctx, NULL, 0, "l", "c", message, 1, message, 1, &err), -EINVAL);
	err = agent_error_free(err);
	{
		uint8_t digest[AGENT_DIGEST_MAX];
		enum agent_hash hash;
		size_t n;

		assert_int_equal(agent_app_signature_digest(AGENT_KEY_EC_P256, "l", "c", message, sizeof(message), &hash, digest, &n, &err), -EMSGSIZE);
		assert_error(&err, -EMSGSIZE, "app.message");
	}
	agent_context_unref(ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signer_signs_through_agentd),
		cmocka_unit_test(a_restart_of_agentd_is_not_noticed),
		cmocka_unit_test(another_key_after_a_restart_is_refused),
		cmocka_unit_test(an_agentd_that_goes_away_again_and_again_is_an_error),
		cmocka_unit_test(what_agentd_says_is_passed_on),
		cmocka_unit_test(a_secret_is_sealed_with_all_its_options),
		cmocka_unit_test(callers_mistakes_are_refused),
		cmocka_unit_test(an_application_signature_is_bound_to_key_label_context_and_message),
		cmocka_unit_test(each_key_type_verifies),
	};
	int failed;

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		keys[i] = software_signer(&software[i], AGENT_KEY_EC_P256);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		agent_signer_unref(keys[i]);
	return failed;
}
