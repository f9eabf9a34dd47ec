/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "agentd/fetch/sign_request.h"
#include "tests/unit/pki.h"

struct fixture {
	int notify_fd;
	struct sign_desk *desk;
	struct agent_signer *signer;
	/* What the asking thread got. */
	int r;
	uint8_t sig[AGENT_SIGNATURE_MAX];
	size_t size;
	struct agent_error *err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	EVP_PKEY *key = pki_key();
	uint8_t *spki = NULL;
	int size = i2d_PUBKEY(key, &spki);

	f->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(sign_desk_new(f->notify_fd, &f->desk), 0);
	assert_int_equal(sign_desk_signer(f->desk, spki, (size_t)size, &f->signer, NULL), 0);
	OPENSSL_free(spki);
	EVP_PKEY_free(key);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	agent_signer_unref(f->signer);
	sign_desk_free(f->desk);
	agent_error_free(f->err);
	close(f->notify_fd);
	free(f);
	return 0;
}

static void *ask(void *userdata)
{
	struct fixture *f = userdata;
	static const uint8_t digest[32] = "0123456789abcdef0123456789abcde";

	f->r = agent_signer_sign(f->signer, AGENT_SIGN_ECDSA, AGENT_HASH_SHA256, digest, sizeof(digest), f->sig, &f->size, &f->err);
	return NULL;
}

static void wait_for_request(struct fixture *f, struct sign_request *request)
{
	struct pollfd p = { .fd = f->notify_fd, .events = POLLIN };
	uint64_t count;

	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_true(read(f->notify_fd, &count, sizeof(count)) > 0);
	assert_true(sign_desk_take(f->desk, request));
	assert_false(sign_desk_take(f->desk, request));	/* only once */
}

static void the_answer_reaches_the_asking_thread(void **state)
{
	struct fixture *f = *state;
	struct sign_request request;
	pthread_t thread;

	assert_false(sign_desk_take(f->desk, &request));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_create(&thread, NULL, ask, f), 0);
		wait_for_request(f, &request);
		assert_int_equal(request.scheme, AGENT_SIGN_ECDSA);
		assert_int_equal(request.digest_size, 32);
		assert_memory_equal(request.digest, "0123456789abcdef", 16);
		sign_desk_answer(f->desk, 0, "signature", 9, NULL);
		pthread_join(thread, NULL);
		assert_int_equal(f->r, 0);
		assert_int_equal(f->size, 9);
		assert_memory_equal(f->sig, "signature", 9);
	}
}

static void a_refusal_reaches_the_asking_thread(void **state)
{
	struct fixture *f = *state;
	struct agent_error *err = NULL;
	struct sign_request request;
	pthread_t thread;
	uint8_t huge[AGENT_SIGNATURE_MAX + 1] = { 0 };

	assert_int_equal(pthread_create(&thread, NULL, ask, f), 0);
	wait_for_request(f, &request);
	agent_error_set(&err, -ENODEV, "tpm.gone", "no TPM");
	sign_desk_answer(f->desk, -ENODEV, NULL, 0, &err);
	assert_null(err);
	pthread_join(thread, NULL);
	assert_int_equal(f->r, -ENODEV);
	assert_error(&f->err, -ENODEV, "tpm.gone");

	assert_int_equal(pthread_create(&thread, NULL, ask, f), 0);
	wait_for_request(f, &request);
	sign_desk_answer(f->desk, 0, huge, sizeof(huge), &err);
	pthread_join(thread, NULL);
	assert_int_equal(f->r, -EPROTO);
	sign_desk_answer(f->desk, 0, "late", 4, NULL);	/* nobody asks: ignored */
}

static void closing_frees_whoever_waits(void **state)
{
	struct fixture *f = *state;
	struct sign_request request;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, ask, f), 0);
	wait_for_request(f, &request);
	sign_desk_close(f->desk);
	pthread_join(thread, NULL);
	assert_int_equal(f->r, -ECANCELED);
	assert_error(&f->err, -ECANCELED, "fetch.canceled");
	ask(f);	/* and later ones at once */
	assert_int_equal(f->r, -ECANCELED);
	assert_false(sign_desk_take(f->desk, &request));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_answer_reaches_the_asking_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refusal_reaches_the_asking_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(closing_frees_whoever_waits, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
