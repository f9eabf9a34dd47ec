/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/fetch/sign_request.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macro.h"

enum stage { IDLE, WAITING, TAKEN, ANSWERED };

struct sign_desk {
	int notify_fd;
	pthread_mutex_t lock;	/* guards the rest */
	pthread_cond_t answered;
	enum stage stage;
	bool is_closed;
	struct sign_request request;
	int r;
	uint8_t sig[AGENT_SIGNATURE_MAX];
	size_t sig_size;
	struct agent_error *err;
};

int sign_desk_new(int notify_fd, struct sign_desk **ret_desk)
{
	struct sign_desk *desk = calloc(1, sizeof(*desk));

	if (desk == NULL)
		return -ENOMEM;
	pthread_mutex_init(&desk->lock, NULL);
	pthread_cond_init(&desk->answered, NULL);
	desk->notify_fd = notify_fd;
	*ret_desk = desk;
	return 0;
}

struct sign_desk *sign_desk_free(struct sign_desk *desk)
{
	if (desk == NULL)
		return NULL;
	agent_error_free(desk->err);
	pthread_cond_destroy(&desk->answered);
	pthread_mutex_destroy(&desk->lock);
	free(desk);
	return NULL;
}

static int desk_sign(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest, size_t digest_size,
		     uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	struct sign_desk *desk = userdata;
	uint64_t one = 1;
	int r;

	if (digest_size > AGENT_DIGEST_MAX)
		return agent_error_set(err, -EINVAL, "signer.digest", "digest of %zu bytes", digest_size);
	pthread_mutex_lock(&desk->lock);
	desk->request = (struct sign_request){ .scheme = scheme, .hash = hash, .digest_size = digest_size };
	memcpy(desk->request.digest, digest, digest_size);
	desk->stage = WAITING;
	if (write(desk->notify_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		desk->is_closed = true;
	while (desk->stage != ANSWERED && !desk->is_closed)
		pthread_cond_wait(&desk->answered, &desk->lock);
	if (desk->stage != ANSWERED) {
		r = agent_error_set(err, -ECANCELED, "fetch.canceled", "the download was given up");
	} else if (desk->r < 0) {
		r = desk->r;
		agent_error_move(err, &desk->err);
	} else {
		memcpy(ret_sig, desk->sig, desk->sig_size);
		*ret_size = desk->sig_size;
		r = 0;
	}
	desk->stage = IDLE;
	pthread_mutex_unlock(&desk->lock);
	return r;
}

int sign_desk_signer(struct sign_desk *desk, const uint8_t *spki, size_t spki_size, struct agent_signer **ret_signer,
		     struct agent_error **err)
{
	static const struct agent_signer_ops ops = { .backend = "agentd", .sign = desk_sign };

	return agent_signer_new(&ops, desk, spki, spki_size, ret_signer, err);
}

bool sign_desk_take(struct sign_desk *desk, struct sign_request *ret_request)
{
	bool taken;

	pthread_mutex_lock(&desk->lock);
	taken = desk->stage == WAITING && !desk->is_closed;
	if (taken) {
		*ret_request = desk->request;
		desk->stage = TAKEN;
	}
	pthread_mutex_unlock(&desk->lock);
	return taken;
}

void sign_desk_answer(struct sign_desk *desk, int r, const void *sig, size_t sig_size, struct agent_error **err)
{
	pthread_mutex_lock(&desk->lock);
	if (desk->stage == TAKEN) {
		if (r >= 0 && sig_size > sizeof(desk->sig))
			r = agent_error_set(err, -EPROTO, "fetch.signature", "agentd answered with %zu bytes", sig_size);
		desk->r = r;
		if (r >= 0) {
			memcpy(desk->sig, sig, sig_size);
			desk->sig_size = sig_size;
		} else {
			agent_error_move(&desk->err, err);
		}
		desk->stage = ANSWERED;
		pthread_cond_signal(&desk->answered);
	}
	pthread_mutex_unlock(&desk->lock);
}

void sign_desk_close(struct sign_desk *desk)
{
	pthread_mutex_lock(&desk->lock);
	desk->is_closed = true;
	pthread_cond_signal(&desk->answered);
	pthread_mutex_unlock(&desk->lock);
}
