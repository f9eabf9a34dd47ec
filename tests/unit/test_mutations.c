/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Valid bundles, changed: bits, lengths, order of members, cuts, splices of two of them. A change is refused, or what it installs is byte for
 * byte what one of the valid ones installs. Deterministic: MUTATIONS=100000 for the long run, MUTATION_SEED=N for another one, MUTATION_ONLY=N for
 * one change alone, MUTATION_VERBOSE=1 says which one comes.
 */
#include "tests/unit/test.h"

#include <agent/bundle.h>

#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

/* What a sync is for is tested elsewhere (test_powercut.c); here thousands of them would be most of the time. */
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
	return 0;
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	return 0;
}

#define N_BASES 6
#define MUTATIONS_DEFAULT 1500
#define MEMBERS_MAX 8

/* One valid bundle and what it installs. */
struct base {
	struct bytes bundle, image;
	struct agent_bundle_facts facts;
	size_t at[MEMBERS_MAX + 1];	/* headers of the members; the last one is the trailer */
	size_t n_members;
};

struct world {
	struct device *d;
	struct base bases[N_BASES];
	uint64_t random;
	unsigned n_refused, n_accepted, n_installed;
	char key[2][96], cert[2][96];
};

/* ---- the valid ones ------------------------------------------------------------------------------------------------------- */

static const struct recipe {
	const char *compress;
	size_t image_bytes;
	bool is_json, two_signers, is_stock;
} recipes[N_BASES] = {
	{ NULL, 1500, false, false, false }, { NULL, 70000, true, true, false }, { "zlib", 9000, false, true, false },
	{ "zstd", 9000, true, false, false }, { NULL, 1700, false, false, true }, { NULL, 1500, false, false, false },
};

static void key_write(const struct identity *id, const char *path)
{
	FILE *f = fopen(path, "w");

	assert_int_equal(PEM_write_PrivateKey(f, id->key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
}

static uint32_t hex32(const uint8_t *p)
{
	char text[9] = { 0 };

	memcpy(text, p, 8);
	return (uint32_t)strtoul(text, NULL, 16);
}

static void members_find(struct base *b)
{
	size_t at = 0;

	for (;;) {
		size_t name = hex32(b->bundle.data + at + 94), size = hex32(b->bundle.data + at + 54);

		assert_true(b->n_members < MEMBERS_MAX + 1);
		b->at[b->n_members] = at;
		if (strcmp((const char *)b->bundle.data + at + 110, "TRAILER!!!") == 0)
			return;
		b->n_members++;
		at = (at + 110 + name + 3) / 4 * 4;
		at = (at + size + 3) / 4 * 4;
	}
}

static void stock_make(struct world *w, unsigned i, struct base *b)
{
	_cleanup_bytes_ struct bytes signature = { 0 };
	char sha[65], text[512];

	sha256_text(b->image.data, b->image.size, sha);
	snprintf(text, sizeof(text),
		 "software = { version = \"v%u\"; hardware-compatibility = [ \"1\" ]; images = ( { filename = \"image\"; device = \"/dev/null\"; sha256 = \"%s\"; } ); };", i, sha);
	sign(w->d, &(struct bundle){ 0 }, text, &signature);
	cpio_member(&b->bundle, "sw-description", text, strlen(text), NULL);
	cpio_member(&b->bundle, "sw-description.sig", signature.data, signature.size, NULL);
	cpio_member(&b->bundle, "image", b->image.data, b->image.size, NULL);
	cpio_end(&b->bundle);
}

static void strict_make(struct world *w, unsigned i, struct base *b)
{
	const struct agent_bundle_signer signers[] = { { w->cert[0], w->key[0], NULL }, { w->cert[1], w->key[1], NULL } };
	const char *const products[] = { "gw:1" };
	struct agent_bundle_options o = { .signers = signers, .n_signers = recipes[i].two_signers ? 2 : 1, .products = products, .n_products = 1,
					  .has_security_version = true, .security_version = 5, .compress = recipes[i].compress, .time_s = NOW_S };
	char folder[96], path[128], out[128], text[512];
	_cleanup_error_ struct agent_error *err = NULL;
	char *data = NULL;

	snprintf(folder, sizeof(folder), "%.60s/source.%u", w->d->dir.path, i);
	assert_int_equal(mkdir(folder, 0700), 0);
	snprintf(path, sizeof(path), "%s/image", folder);
	assert_int_equal(file_replace_at(AT_FDCWD, path, 0600, b->image.data, b->image.size, NULL), 0);
	snprintf(path, sizeof(path), "%s/sw-description", folder);
	snprintf(text, sizeof(text), recipes[i].is_json ? "{\"software\":{\"version\":\"v%u\",\"images\":[{\"filename\":\"image\",\"properties\":{\"slot-class\":\"rootfs\"}}]}}" :
		 "software = { version = \"v%u\"; images = ( { filename = \"image\"; properties = { slot-class = \"rootfs\"; }; } ); };", i);
	assert_int_equal(file_replace_at(AT_FDCWD, path, 0600, text, strlen(text), NULL), 0);
	snprintf(out, sizeof(out), "%.60s/%u.swu", w->d->dir.path, i);
	o.source = folder;
	o.out = out;
	if (agent_bundle_create(w->d->ctx, &o, &err) < 0)
		fail_msg("base %u: %s", i, agent_error_message(err));
	assert_int_equal(file_read_at(AT_FDCWD, out, 1 << 20, &data, &b->bundle.size, NULL), 0);
	b->bundle.data = (uint8_t *)data;
}

static int verify(struct world *w, const struct bytes *bundle, struct agent_bundle_facts *facts, struct agent_error **err)
{
	const struct agent_bundle_policy policy = { .trust_dir = w->d->trust, .n_min_signers = 1, .product = "gw:1", .allow_compat = 1, .now_s = NOW_S };
	_cleanup_close_ int fd = bytes_fd(bundle->data, bundle->size);

	return agent_bundle_verify(w->d->ctx, fd, &policy, facts, err);
}

static int world_setup(void **state)
{
	struct world *w = test_calloc(1, sizeof(*w));
	struct identity *ids[2];

	assert_int_equal(device_setup((void **)&w->d), 0);
	ids[0] = &w->d->signer;
	ids[1] = &w->d->second;
	for (size_t i = 0; i < 2; i++) {
		snprintf(w->key[i], sizeof(w->key[i]), "%.60s/%zu.key", w->d->dir.path, i);
		snprintf(w->cert[i], sizeof(w->cert[i]), "%.60s/%s.pem", w->d->trust, i == 0 ? "signer" : "second");
		key_write(ids[i], w->key[i]);
	}
	for (unsigned i = 0; i < N_BASES; i++) {
		struct base *b = &w->bases[i];

		for (size_t k = 0; k < recipes[i].image_bytes; k++) {
			uint8_t byte = (uint8_t)(k * (i + 3) + k / 251 + i);

			bytes_add(&b->image, &byte, 1);
		}
		if (recipes[i].is_stock)
			stock_make(w, i, b);
		else
			strict_make(w, i, b);
		assert_int_equal(verify(w, &b->bundle, &b->facts, NULL), 0);
		members_find(b);
	}
	*state = w;
	return 0;
}

static int world_teardown(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < N_BASES; i++) {
		bytes_free(&w->bases[i].bundle);
		bytes_free(&w->bases[i].image);
	}
	device_teardown((void **)&w->d);
	test_free(w);
	return 0;
}

/* ---- changes -------------------------------------------------------------------------------------------------------------- */

/* splitmix64 */
static uint64_t draw(struct world *w)
{
	uint64_t z = w->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static size_t below(struct world *w, size_t n)
{
	return n == 0 ? 0 : (size_t)(draw(w) % n);
}

/* The member @i with its padding; @i == n_members is the trailer and all that follows. */
static size_t member_end(const struct base *b, size_t i)
{
	return i == b->n_members ? b->bundle.size : b->at[i + 1];
}

static void member_copy(struct bytes *out, const struct base *b, size_t i)
{
	bytes_add(out, b->bundle.data + b->at[i], member_end(b, i) - b->at[i]);
}

static void all(struct bytes *out, const struct base *b)
{
	bytes_add(out, b->bundle.data, b->bundle.size);
}

static void flip_bits(struct world *w, const struct base *b, struct bytes *out)
{
	all(out, b);
	for (size_t n = 1 + below(w, 4); n > 0; n--)
		out->data[below(w, out->size)] ^= (uint8_t)(1u << below(w, 8));
}

/* Where the data of member @i are, and how many. */
static size_t member_data(const struct base *b, size_t i, size_t *ret_size)
{
	size_t name = hex32(b->bundle.data + b->at[i] + 94);

	*ret_size = hex32(b->bundle.data + b->at[i] + 54);
	return (b->at[i] + 110 + name + 3) / 4 * 4;
}

/* The checksum of the archive is right again, so that it is not what notices. */
static void checksum_mend(const struct base *b, size_t i, struct bytes *out)
{
	size_t size, at = member_data(b, i, &size);
	uint32_t sum = 0;
	char text[9];

	for (size_t k = 0; k < size; k++)
		sum += out->data[at + k];
	snprintf(text, sizeof(text), "%08X", sum);
	memcpy(out->data + b->at[i] + 102, text, 8);
}

static void change_data(struct world *w, const struct base *b, struct bytes *out)
{
	size_t i = below(w, b->n_members), size, at = member_data(b, i, &size);

	all(out, b);
	for (size_t n = 1 + below(w, 3); n > 0; n--)
		out->data[at + below(w, size)] = (uint8_t)draw(w);
	checksum_mend(b, i, out);
}

/* Digits and quotes of the description: sizes, hashes, versions. */
static void change_text(struct world *w, const struct base *b, struct bytes *out)
{
	size_t size, at = member_data(b, 0, &size), k = below(w, size);

	all(out, b);
	for (size_t n = 0; n < size && !(out->data[at + k] >= '0' && out->data[at + k] <= '9'); n++)
		k = (k + 1) % size;
	out->data[at + k] = (uint8_t)("0123456789\";={}a"[below(w, 16)]);
	checksum_mend(b, 0, out);
}

/* Lengths and tags of DER. */
static void change_signature(struct world *w, const struct base *b, struct bytes *out)
{
	size_t size, at = member_data(b, 1, &size);
	static const uint8_t odd[] = { 0x00, 0x30, 0x31, 0x80, 0x81, 0x82, 0x84, 0xa0, 0xff, 0x7f, 0x01, 0x02 };

	all(out, b);
	for (size_t n = 1 + below(w, 2); n > 0; n--) {
		size_t k = at + below(w, size);

		out->data[k] = below(w, 2) == 0 ? odd[below(w, sizeof(odd))] : (uint8_t)(out->data[k] + (below(w, 2) == 0 ? 1 : 255));
	}
	checksum_mend(b, 1, out);
}

static void change_length(struct world *w, const struct base *b, struct bytes *out)
{
	static const size_t fields[] = { 54, 94, 102, 14, 6, 46 };
	size_t i = below(w, b->n_members + 1), field = b->at[i] + fields[below(w, ARRAY_SIZE(fields))];
	uint32_t was, value;
	char text[9];

	all(out, b);
	was = hex32(out->data + field);
	switch (below(w, 8)) {
	case 0: value = was + 1; break;
	case 1: value = was - 1; break;
	case 2: value = 0; break;
	case 3: value = UINT32_MAX; break;
	case 4: value = UINT32_C(0x80000000); break;
	case 5: value = was + 4; break;
	case 6: value = was ^ UINT32_C(1) << below(w, 32); break;
	default: value = (uint32_t)draw(w); break;
	}
	snprintf(text, sizeof(text), "%08X", value);
	memcpy(out->data + field, text, 8);
}

static void cut(struct world *w, const struct base *b, struct bytes *out)
{
	bytes_add(out, b->bundle.data, below(w, b->bundle.size));
}

static void extend(struct world *w, const struct base *b, struct bytes *out)
{
	size_t n = 1 + below(w, 700);
	bool is_zero = below(w, 2) == 0;

	all(out, b);
	for (; n > 0; n--) {
		uint8_t byte = is_zero ? 0 : (uint8_t)draw(w);

		bytes_add(out, &byte, 1);
	}
}

static void take_out(struct world *w, const struct base *b, struct bytes *out)
{
	size_t from = below(w, b->bundle.size), n = 1 + below(w, 64);

	bytes_add(out, b->bundle.data, from);
	if (from + n < b->bundle.size)
		bytes_add(out, b->bundle.data + from + n, b->bundle.size - from - n);
}

static void repeat(struct world *w, const struct base *b, struct bytes *out)
{
	size_t from = below(w, b->bundle.size), n = 1 + below(w, 64);

	if (n > b->bundle.size - from)
		n = b->bundle.size - from;
	bytes_add(out, b->bundle.data, from + n);
	bytes_add(out, b->bundle.data + from, b->bundle.size - from);
}

/* Two members change places, one is missing, or one comes twice. */
static void change_order(struct world *w, const struct base *b, struct bytes *out)
{
	size_t one = below(w, b->n_members), two = below(w, b->n_members), what = below(w, 3);

	for (size_t i = 0; i < b->n_members; i++) {
		size_t k = what != 0 ? i : i == one ? two : i == two ? one : i;

		if (what == 1 && i == one)
			continue;
		member_copy(out, b, k);
		if (what == 2 && i == two)
			member_copy(out, b, one);
	}
	member_copy(out, b, b->n_members);
}

/* The beginning of one and the end of another. */
static void splice_bytes(struct world *w, const struct base *b, struct bytes *out)
{
	const struct base *other = &w->bases[below(w, N_BASES)];
	size_t from = below(w, other->bundle.size + 1);

	bytes_add(out, b->bundle.data, below(w, b->bundle.size + 1));
	bytes_add(out, other->bundle.data + from, other->bundle.size - from);
}

/* Some members of one in the places of those of another. */
static void splice_members(struct world *w, const struct base *b, struct bytes *out)
{
	const struct base *other = &w->bases[below(w, N_BASES)];
	uint64_t mask = draw(w);

	for (size_t i = 0; i < b->n_members; i++)
		member_copy(out, i < other->n_members && (mask >> i & 1) != 0 ? other : b, i);
	member_copy(out, b, b->n_members);
}

static void (*const changes[])(struct world *w, const struct base *b, struct bytes *out) = {
	flip_bits, change_data, change_text, change_signature, change_length, cut, extend, take_out, repeat, change_order, splice_bytes, splice_members,
};

/* ---- what becomes of them ------------------------------------------------------------------------------------------------- */

static void device_reset(struct world *w)
{
	static const uint8_t old[SLOT_BYTES] = { 0xaa };
	char command[256];

	snprintf(command, sizeof(command), "%.90s/journal", w->d->state);
	(void)unlink(command);
	rig_file_make(w->d);
	assert_int_equal(file_replace_at(AT_FDCWD, w->d->slot[1], 0600, old, sizeof(old), NULL), 0);
}

/* On a device: the same word, and if it is yes, exactly what the valid one installs. */
static void install_compare(struct world *w, unsigned n, const struct bytes *bytes, const struct base *expected, const char *refused)
{
	const struct agent_update_options more = { .allow_compat = 1 };
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_free_ char *slot = NULL;
	_cleanup_close_ int fd = bytes_fd(bytes->data, bytes->size);
	struct agent_update *u;
	struct boot_state s;
	size_t size = 0;
	int r;

	device_reset(w);
	u = engine_with(w->d, &more);
	r = agent_update_install(u, fd, 0, NOW_S, NULL, NULL, &err);
	agent_update_free(u);
	w->n_installed++;
	s = env_read(w->d);
	if (expected == NULL) {
		if (r == 0 || strcmp(agent_error_name(err), refused) != 0)
			fail_msg("mutation %u: verify says %s, the device %s", n, refused, r == 0 ? "yes" : agent_error_name(err));
		assert_false(boot_state_slot(&s, "b")->is_good);
		assert_int_equal(boot_state_slot(&s, "b")->n_tries_left, 0);
		return;
	}
	if (r < 0)
		fail_msg("mutation %u: verify says yes, the device %s", n, agent_error_message(err));
	assert_int_equal(file_read_at(AT_FDCWD, w->d->slot[1], SLOT_BYTES, &slot, &size, NULL), 0);
	assert_memory_equal(slot, expected->image.data, expected->image.size);
	for (size_t i = expected->image.size; i < size; i++)
		assert_int_equal((uint8_t)slot[i], i == 0 ? 0xaa : 0);
	assert_string_equal(boot_state_slot(&s, "b")->release, expected->facts.release_id);
	assert_string_equal(boot_state_slot(&s, "b")->version, expected->facts.version);
	assert_int_equal(boot_state_slot(&s, "b")->security_version, expected->facts.security_version);
}

static const struct base *base_of(struct world *w, const struct agent_bundle_facts *facts)
{
	for (size_t i = 0; i < N_BASES; i++)
		if (strcmp(w->bases[i].facts.release_id, facts->release_id) == 0)
			return &w->bases[i];
	return NULL;
}

static void mutation_run(struct world *w, unsigned n, uint64_t seed)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_bytes_ struct bytes bytes = { 0 };
	struct agent_bundle_facts facts;
	const struct base *base;
	size_t k;

	w->random = seed ^ (uint64_t)n * UINT64_C(0x2545f4914f6cdd1d);
	base = &w->bases[below(w, N_BASES)];
	k = below(w, ARRAY_SIZE(changes));
	changes[k](w, base, &bytes);
	if (getenv("MUTATION_VERBOSE") != NULL)
		fprintf(stderr, "mutation %u: base %zu, change %zu\n", n, (size_t)(base - w->bases), k);
	if (verify(w, &bytes, &facts, &err) < 0) {
		w->n_refused++;
		/* The device itself now and then: it costs some syncs. */
		if (n % 64 == 0)
			install_compare(w, n, &bytes, NULL, agent_error_name(err));
		return;
	}
	w->n_accepted++;
	base = base_of(w, &facts);
	if (base == NULL || facts.security_version != base->facts.security_version || facts.is_strict != base->facts.is_strict ||
	    strcmp(facts.version, base->facts.version) != 0 || facts.n_images != base->facts.n_images)
		fail_msg("mutation %u is accepted as release %s, which nobody signed", n, facts.release_id);
	install_compare(w, n, &bytes, base, NULL);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void changed_bundles_are_refused_or_mean_the_same(void **state)
{
	struct world *w = *state;
	uint64_t seed = number_from("MUTATION_SEED", 1), only = number_from("MUTATION_ONLY", UINT64_MAX);
	unsigned n = (unsigned)number_from("MUTATIONS", MUTATIONS_DEFAULT);

	for (unsigned i = 0; i < n; i++)
		if (only == UINT64_MAX || only == i)
			mutation_run(w, i, seed);
	fprintf(stderr, "# %u mutations of %d bundles, seed %" PRIu64 ": %u refused, %u accepted with the same effect, 0 with another; %u on a device\n",
		w->n_refused + w->n_accepted, N_BASES, seed, w->n_refused, w->n_accepted, w->n_installed);
	assert_true(w->n_refused > 0);
}

/* The measure itself: a bundle that is not one of the valid ones, but good, is noticed. */
static void another_good_bundle_is_no_same_effect(void **state)
{
	struct world *w = *state;
	struct base other = { 0 };
	struct agent_bundle_facts facts;
	const uint8_t byte = 'x';

	for (int i = 0; i < 100; i++)
		bytes_add(&other.image, &byte, 1);
	stock_make(w, 77, &other);
	assert_int_equal(verify(w, &other.bundle, &facts, NULL), 0);
	assert_null(base_of(w, &facts));
	bytes_free(&other.bundle);
	bytes_free(&other.image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_good_bundle_is_no_same_effect),
		cmocka_unit_test(changed_bundles_are_refused_or_mean_the_same),
	};

	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
