/* SPDX-License-Identifier: Apache-2.0 */
/* What is on the device already: found by its hash, copied or left in place, and never believed. */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

#include <errno.h>
#include <pthread.h>

#define N_CHUNKS 5

/* A server with one bundle, that counts. */
struct server {
	struct device *d;
	struct bytes bundle;
	uint64_t image_at, sent_bytes, image_bytes, last_end;
	unsigned n_requests;
	uint64_t granted;	/* how far the last n_ahead reached */
	int rot_slot;		/* which slot rots when the first byte of the image is asked for, or -1 */
	size_t rot_at;
	int error;
	bool too_much;
};

static void poke(struct device *d, int slot, size_t at, uint8_t flip)
{
	_cleanup_close_ int fd = open(d->slot[slot], O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= flip;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
}

static void fill(struct device *d, int slot, size_t at, const void *data, size_t size)
{
	_cleanup_close_ int fd = open(d->slot[slot], O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite_all(fd, data, size, at), 0);
}

static int serve(void *userdata, uint64_t offset, uint64_t n_ahead, void *data, size_t size, size_t *ret_size, struct agent_error **err)
{
	struct server *s = userdata;
	size_t left = offset < s->bundle.size ? s->bundle.size - (size_t)offset : 0, n = size < left ? size : left;

	assert_true(n_ahead >= size);
	assert_true(offset >= s->last_end);	/* never back */
	s->last_end = offset + n;
	if (offset >= s->image_at && offset < s->image_at + IMAGE_BYTES) {
		if (s->rot_slot >= 0)
			poke(s->d, s->rot_slot, s->rot_at, 0x80);
		s->rot_slot = -1;
		s->image_bytes += n;
		if (s->error != 0)
			return agent_error_set(err, s->error, "test.server", "the server is gone");
	}
	if (offset + n > s->granted) {
		s->n_requests++;
		s->granted = offset + (n_ahead > 4096 ? n_ahead : 4096);
	}
	memcpy(data, s->bundle.data + offset, n);
	s->sent_bytes += n;
	*ret_size = s->too_much ? size + 1 : n;
	return 0;
}

static struct server server_of(struct device *d, const struct bundle *b)
{
	struct server s = { .d = d, .rot_slot = -1 };
	uint8_t *found;

	bundle_make(d, b, &s.bundle);
	found = memmem(s.bundle.data, s.bundle.size, d->image + 100, 256);
	if (found != NULL)
		s.image_at = (uint64_t)(found - s.bundle.data) - 100;
	return s;
}

static int install_from(struct agent_update *u, struct server *s, struct agent_error **err)
{
	return agent_update_install_from(u, serve, s, 0, NOW_S, NULL, NULL, err);
}

static void fetched(struct device *d, struct server *s, uint64_t image_bytes)
{
	_cleanup_engine_ struct agent_update *u = engine(d);

	assert_int_equal(install_from(u, s, NULL), 0);
	assert_int_equal(s->image_bytes, image_bytes);
	assert_true(slot_holds_image(d, 1));
	bytes_free(&s->bundle);
}

static void nothing_there_all_is_fetched_in_one_request(void **state)
{
	struct device *d = *state;
	struct server s = server_of(d, &(struct bundle){ 0 });

	fetched(d, &s, IMAGE_BYTES);
	assert_int_equal(s.n_requests, 3);	/* the head, the image, the end */
}

static void chunks_of_the_running_slot_are_copied(void **state)
{
	struct device *d = *state;
	struct server s = server_of(d, &(struct bundle){ 0 });

	fill(d, 0, 0, d->image, IMAGE_BYTES);
	poke(d, 0, CHUNK + 7, 1);
	fetched(d, &s, CHUNK);
}

static void a_neighbouring_run_is_one_request(void **state)
{
	struct device *d = *state;
	struct server s = server_of(d, &(struct bundle){ 0 });
	unsigned before;

	fill(d, 0, 0, d->image, IMAGE_BYTES);
	fetched(d, &s, 0);
	before = s.n_requests;
	s = server_of(d, &(struct bundle){ .release = "r-2" });
	fill(d, 1, 0, (const uint8_t[SLOT_BYTES]){ 0 }, SLOT_BYTES);
	for (size_t i = 1; i < 4; i++)
		poke(d, 0, i * CHUNK + 7, 1);
	{
		_cleanup_engine_ struct agent_update *u = engine(d);

		assert_int_equal(agent_update_rollback(u, 0, NULL), 0);
	}
	fetched(d, &s, 3 * CHUNK);
	assert_int_equal(s.n_requests, before + 1);
}

static void chunks_are_found_at_other_places(void **state)
{
	struct device *d = *state;
	struct server s = server_of(d, &(struct bundle){ 0 });

	/* The running slot is read as far as the image reaches: chunk 3 ends behind that, and the short last one does not begin there. */
	fill(d, 0, CHUNK, d->image, IMAGE_BYTES);
	fetched(d, &s, CHUNK + IMAGE_BYTES % CHUNK);
}

static void equal_chunks_are_copied_from_one_place(void **state)
{
	struct device *d = *state;
	struct server s;

	for (size_t i = 1; i < N_CHUNKS; i++)
		memcpy(d->image + i * CHUNK, d->image, i == N_CHUNKS - 1 ? IMAGE_BYTES % CHUNK : CHUNK);
	s = server_of(d, &(struct bundle){ 0 });
	fill(d, 0, 2 * CHUNK, d->image, CHUNK);
	fetched(d, &s, IMAGE_BYTES % CHUNK);
}

static void what_is_in_place_stays(void **state)
{
	struct device *d = *state;
	struct server s = server_of(d, &(struct bundle){ 0 });

	fill(d, 1, 0, d->image, IMAGE_BYTES);
	poke(d, 1, 3 * CHUNK, 1);
	poke(d, 1, IMAGE_BYTES - 1, 1);
	fetched(d, &s, CHUNK + IMAGE_BYTES % CHUNK);
}

static void a_running_slot_that_rots_meanwhile_is_not_believed(void **state)
{
	struct device *d = *state;
	struct server s = server_of(d, &(struct bundle){ 0 });

	fill(d, 0, 0, d->image, IMAGE_BYTES);
	poke(d, 0, 7, 1);	/* so that chunk 0 is asked for */
	s.rot_slot = 0;
	s.rot_at = 2 * CHUNK + 9;
	fetched(d, &s, 2 * CHUNK);
}

static void a_written_slot_that_rots_meanwhile_is_noticed(void **state)
{
	struct device *d = *state;
	struct server s = server_of(d, &(struct bundle){ 0 });
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;

	fill(d, 1, 0, d->image, IMAGE_BYTES);
	poke(d, 1, 7, 1);
	s.rot_slot = 1;
	s.rot_at = 2 * CHUNK + 9;
	assert_int_equal(install_from(u, &s, &err), -EBADMSG);
	assert_string_equal(agent_error_name(err), "slot.readback");
	assert_non_null(strstr(agent_error_message(err), "image: chunk 2: slot b reads back"));
	bytes_free(&s.bundle);
}

static void a_running_slot_that_cannot_be_read_is_no_reason(void **state)
{
	struct device *d = *state;
	struct server s = server_of(d, &(struct bundle){ 0 });

	assert_int_equal(unlink(d->slot[0]), 0);
	fetched(d, &s, IMAGE_BYTES);
	s = server_of(d, &(struct bundle){ .release = "r-2" });
	assert_int_equal(file_replace_at(AT_FDCWD, d->slot[0], 0600, d->image, CHUNK + 100, NULL), 0);
	{
		_cleanup_engine_ struct agent_update *u = engine(d);

		assert_int_equal(agent_update_rollback(u, 0, NULL), 0);
	}
	fill(d, 1, 0, (const uint8_t[SLOT_BYTES]){ 0 }, SLOT_BYTES);
	fetched(d, &s, IMAGE_BYTES - CHUNK);
}

static void compressed_and_stock_bundles_are_fetched_whole(void **state)
{
	static const struct bundle bundles[] = { { .compressed = "zlib" }, { .compressed = "zstd", .release = "r-2" }, { .is_stock = true } };

	for (size_t i = 0; i < ARRAY_SIZE(bundles); i++) {
		struct device *d = *state;
		struct server s = server_of(d, &bundles[i]);
		_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });

		fill(d, 0, 0, d->image, IMAGE_BYTES);
		assert_int_equal(install_from(u, &s, NULL), 0);
		assert_true(slot_holds_image(d, 1));
		assert_int_equal(s.sent_bytes, s.bundle.size);
		assert_int_equal(agent_update_rollback(u, 0, NULL), 0);
		bytes_free(&s.bundle);
	}
}

static void the_table_is_checked_before_it_is_an_index(void **state)
{
	struct device *d = *state;
	struct server s = server_of(d, &(struct bundle){ .table_changed = true });
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;

	fill(d, 0, 0, d->image, IMAGE_BYTES);
	assert_int_equal(install_from(u, &s, &err), -EBADMSG);
	assert_string_equal(agent_error_name(err), "update.chunk-table");
	assert_true(slot_is_untouched(d, 1));
	bytes_free(&s.bundle);
}

static void a_source_that_fails_says_why(void **state)
{
	struct device *d = *state;
	struct server s = server_of(d, &(struct bundle){ 0 });
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL, *second = NULL, *third = NULL;
	size_t size = s.bundle.size;

	s.error = -ENETDOWN;
	assert_int_equal(install_from(u, &s, &err), -ENETDOWN);
	assert_string_equal(agent_error_name(err), "test.server");
	s.error = 0;
	s.last_end = 0;
	s.too_much = true;
	assert_int_equal(install_from(u, &s, &second), -EIO);
	assert_string_equal(agent_error_name(second), "container.read");
	s.too_much = false;
	s.last_end = 0;
	s.bundle.size = size - 1000;
	assert_int_equal(install_from(u, &s, &third), -EBADMSG);
	assert_string_equal(agent_error_name(third), "container.short");
	s.bundle.size = size;
	s.last_end = 0;
	assert_int_equal(install_from(u, &s, NULL), 0);
	assert_int_equal(agent_update_install_from(u, NULL, NULL, 0, NOW_S, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(agent_update_install_from(NULL, serve, &s, 0, NOW_S, NULL, NULL, NULL), -EINVAL);
	bytes_free(&s.bundle);
}

/* ---- an installation that broke off, and comes again from a descriptor ---------------------------------------------------- */

struct feed {
	int fd;
	const struct bytes *bytes;
};

static void *feed(void *userdata)
{
	struct feed *f = userdata;

	(void)write_all(f->fd, f->bytes->data, f->bytes->size);
	close(f->fd);
	return NULL;
}

static int install_bytes(struct device *d, const struct bytes *bytes, bool by_pipe, struct agent_error **err)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_close_ int fd = -1;
	struct feed f = { .bytes = bytes };
	pthread_t thread;
	int fds[2], r;

	if (!by_pipe) {
		fd = bytes_fd(bytes->data, bytes->size);
		return agent_update_install(u, fd, 0, NOW_S, NULL, NULL, err);
	}
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fd = fds[0];
	f.fd = fds[1];
	assert_int_equal(pthread_create(&thread, NULL, feed, &f), 0);
	r = agent_update_install(u, fd, 0, NOW_S, NULL, NULL, err);
	pthread_join(thread, NULL);
	return r;
}

/* Signed, and its first three chunks are in slot b. What it is signed with is random: the manifest must be kept, not made again. */
static void break_off(struct device *d, struct bytes *bundle, size_t *ret_image_at)
{
	_cleanup_bytes_ struct bytes short_one = { 0 };
	struct server s = server_of(d, &(struct bundle){ 0 });

	*bundle = s.bundle;
	*ret_image_at = (size_t)s.image_at;
	bytes_add(&short_one, s.bundle.data, (size_t)s.image_at + 3 * CHUNK + 10);
	assert_int_equal(install_bytes(d, &short_one, false, NULL), -EBADMSG);
}

static void the_same_bundle_goes_on_where_it_broke(void **state)
{
	for (int by_pipe = 0; by_pipe < 2; by_pipe++) {
		struct device *d = *state;
		_cleanup_bytes_ struct bytes bundle = { 0 };
		_cleanup_engine_ struct agent_update *u = NULL;
		size_t image_at;

		break_off(d, &bundle, &image_at);
		/* What is there is not taken from the bundle: a wrong byte there does not matter. */
		bundle.data[image_at + CHUNK] ^= 1;
		assert_int_equal(install_bytes(d, &bundle, by_pipe == 1, NULL), 0);
		assert_true(slot_holds_image(d, 1));
		u = engine(d);
		assert_int_equal(agent_update_rollback(u, 0, NULL), 0);
		fill(d, 1, 0, (const uint8_t[SLOT_BYTES]){ 0 }, SLOT_BYTES);
	}
}

static void what_was_written_is_hashed_again(void **state)
{
	struct device *d = *state;
	_cleanup_bytes_ struct bytes bundle = { 0 };
	_cleanup_error_ struct agent_error *err = NULL;
	size_t image_at;

	break_off(d, &bundle, &image_at);
	poke(d, 1, CHUNK + 100, 1);
	/* From the first chunk on that is not there all is read again. */
	bundle.data[image_at + 2 * CHUNK] ^= 1;
	assert_int_equal(install_bytes(d, &bundle, false, &err), -EBADMSG);
	assert_string_equal(agent_error_name(err), "update.chunk");
	bundle.data[image_at + 2 * CHUNK] ^= 1;
	assert_int_equal(install_bytes(d, &bundle, false, NULL), 0);
	assert_true(slot_holds_image(d, 1));
}

static void another_bundle_starts_over(void **state)
{
	struct device *d = *state;
	_cleanup_bytes_ struct bytes bundle = { 0 };
	_cleanup_error_ struct agent_error *err = NULL;
	struct server other;
	size_t image_at;

	break_off(d, &bundle, &image_at);
	other = server_of(d, &(struct bundle){ .release = "r-2" });
	other.bundle.data[other.image_at + CHUNK] ^= 1;
	assert_int_equal(install_bytes(d, &other.bundle, false, &err), -EBADMSG);
	assert_string_equal(agent_error_name(err), "update.chunk");
	other.bundle.data[other.image_at + CHUNK] ^= 1;
	assert_int_equal(install_bytes(d, &other.bundle, false, NULL), 0);
	assert_true(slot_holds_image(d, 1));
	bytes_free(&other.bundle);
}

static void without_a_journal_all_is_read_again(void **state)
{
	struct device *d = *state;
	_cleanup_bytes_ struct bytes bundle = { 0 };
	size_t image_at;
	char path[128];

	break_off(d, &bundle, &image_at);
	snprintf(path, sizeof(path), "%s/journal", d->state);
	assert_int_equal(unlink(path), 0);
	bundle.data[image_at + CHUNK] ^= 1;
	assert_int_equal(install_bytes(d, &bundle, false, NULL), -EBADMSG);
	bundle.data[image_at + CHUNK] ^= 1;
	assert_int_equal(install_bytes(d, &bundle, false, NULL), 0);
	assert_true(slot_holds_image(d, 1));
}

#define ON_A_DEVICE(test) cmocka_unit_test_setup_teardown(test, device_setup, device_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_A_DEVICE(nothing_there_all_is_fetched_in_one_request), ON_A_DEVICE(chunks_of_the_running_slot_are_copied),
		ON_A_DEVICE(a_neighbouring_run_is_one_request), ON_A_DEVICE(chunks_are_found_at_other_places),
		ON_A_DEVICE(equal_chunks_are_copied_from_one_place), ON_A_DEVICE(what_is_in_place_stays),
		ON_A_DEVICE(a_running_slot_that_rots_meanwhile_is_not_believed), ON_A_DEVICE(a_written_slot_that_rots_meanwhile_is_noticed),
		ON_A_DEVICE(a_running_slot_that_cannot_be_read_is_no_reason), ON_A_DEVICE(compressed_and_stock_bundles_are_fetched_whole),
		ON_A_DEVICE(the_table_is_checked_before_it_is_an_index), ON_A_DEVICE(a_source_that_fails_says_why),
		ON_A_DEVICE(the_same_bundle_goes_on_where_it_broke), ON_A_DEVICE(what_was_written_is_hashed_again),
		ON_A_DEVICE(another_bundle_starts_over), ON_A_DEVICE(without_a_journal_all_is_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
