/* SPDX-License-Identifier: Apache-2.0 */
/* Bundles on the maker's side: no agent runs here, and nobody is root. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <agent/agent.h>

#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"

#define SRK_HANDLE 0x81000001u /* where agentd has it, tpm.srk_handle */
#define DEFAULT_TCTI "device:/dev/tpmrm0"
#define KEY_FILE_MAX ((size_t)1024)

/* What the options of a command become; released by bundle_clear(). */
struct bundle {
	struct agent_context *ctx;
	struct agent_tpm *tpm;
	const char *tcti;
	struct option_list certificates, keys;
	struct agent_bundle_signer signers[AGENT_BUNDLE_SIGNERS_MAX];
	uint8_t aes_key[32], aes_iv[AGENT_UPDATE_IV_SIZE];
	size_t aes_key_size;
	bool has_iv;
};

static void bundle_clear(struct bundle *b)
{
	for (size_t i = 0; i < AGENT_BUNDLE_SIGNERS_MAX; i++)
		agent_signer_unref(b->signers[i].signer);
	agent_tpm_unref(b->tpm);
	agent_context_unref(b->ctx);
	wipe(b->aes_key, sizeof(b->aes_key));
}
#define _cleanup_bundle_ _cleanup_(bundle_clear)

static int exit_code(const struct agent_error *err)
{
	const char *name = agent_error_name(err);

	if (strcmp(name, "bundle.options") == 0)
		return CTL_USAGE;
	if (strcmp(name, "update.stale") == 0)
		return CTL_UPDATE_STALE;
	return strncmp(name, "bundle.", 7) == 0 ? CTL_FAILED : CTL_UPDATE_REFUSED;
}

static int refused(const struct ctl *ctl, const struct agent_error *err)
{
	fprintf(stderr, "agentctl: %s: ", agent_error_name(err));
	print_text(stderr, agent_error_message(err));
	fputc('\n', stderr);
	if (ctl->is_json) {
		json_t *body = json_pack("{s:s, s:s}", "error_name", agent_error_name(err), "error", agent_error_message(err));

		print_json(body);
		json_decref(body);
	}
	return exit_code(err);
}

/* ---- options -------------------------------------------------------------------------------------------------------------- */

/* A number that an option gives; *ret_value stays as it is when it does not. */
static int number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;
	bool is_one = text == NULL || *text != '\0';

	if (text == NULL)
		return 0;
	for (const char *p = text; is_one && *p != '\0'; p++) {
		unsigned digit = (unsigned)(*p - '0');

		is_one = digit <= 9 && digit <= max && value <= (max - digit) / 10;
		value = value * 10 + digit;
	}
	if (!is_one || value < min) {
		fprintf(stderr, "agentctl: %s must be a number from %" PRIu64 " to %" PRIu64 "\n", option, min, max);
		return -1;
	}
	*ret_value = value;
	return 0;
}

/* Of the signatures and the archive: the clock, or what a reproducible build says (reproducible-builds.org/specs/source-date-epoch). */
static int time_now(uint64_t *ret_now_s)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");

	*ret_now_s = (uint64_t)time(NULL);
	return epoch == NULL ? 0 : number("SOURCE_DATE_EPOCH", epoch, 0, UINT32_MAX, ret_now_s);
}

/* As for "swupdate -K": the key and, after a blank, the IV, in hexadecimal digits. */
static int aes_load(struct bundle *b, const char *path)
{
	_cleanup_error_ struct agent_error *err = NULL;
	char *text = NULL;
	size_t size = 0, n, m;
	int r = file_read_at(AT_FDCWD, path, KEY_FILE_MAX, &text, &size, &err);

	if (r < 0) {
		fprintf(stderr, "agentctl: the encryption key: %s\n", agent_error_message(err));
		return -1;
	}
	n = strspn(text, "0123456789abcdefABCDEF");
	m = n + strspn(text + n, " \t");
	b->has_iv = strspn(text + m, "0123456789abcdefABCDEF") > 0;
	r = n != 32 && n != 48 && n != 64 ? -EINVAL : hex_decode(text, n, b->aes_key, n / 2);
	if (r == 0 && b->has_iv)
		r = hex_decode(text + m, strspn(text + m, "0123456789abcdefABCDEF"), b->aes_iv, sizeof(b->aes_iv));
	b->aes_key_size = r == 0 ? n / 2 : 0;
	wipe(text, size);
	free(text);
	if (r < 0)
		fprintf(stderr, "agentctl: %s must hold a key of 32, 48 or 64 hexadecimal digits and perhaps an IV of 32\n", path);
	return r;
}

/* "tpm:FOLDER/NAME.pem", with the file of its authorisation beside it, as agent_key_load() wants them. */
static int tpm_key_load(struct bundle *b, const char *path, struct agent_signer **ret_signer, struct agent_error **err)
{
	_cleanup_free_ char *folder = strdup(path);
	char *base = folder == NULL ? NULL : strrchr(folder, '/'), *dot;
	_cleanup_close_ int dir_fd = -1;
	struct agent_key *key = NULL;
	char here[] = ".";
	int r = 0;

	if (folder == NULL)
		return agent_error_set(err, -ENOMEM, "bundle.key", "no memory for the name of a key");
	if (base != NULL)
		*base++ = '\0';
	else
		base = folder;
	dot = strrchr(base, '.');
	if (dot != NULL && strcmp(dot, ".pem") == 0)
		*dot = '\0';
	if (b->tpm == NULL)
		r = agent_tpm_new(b->ctx, b->tcti == NULL ? DEFAULT_TCTI : b->tcti, SRK_HANDLE, &b->tpm, err);
	if (r == 0)
		r = dir_open(base == folder ? here : folder[0] == '\0' ? "/" : folder, &dir_fd, err);
	if (r == 0)
		r = agent_key_load(b->tpm, dir_fd, base, &key, err);
	if (r == 0)
		r = agent_key_get_signer(key, ret_signer, err);
	agent_key_unref(key);
	return r;
}

/* Pairs of --signer and --key, in their order. A negative errno, or a usage mistake: 1. */
static int signers_load(struct bundle *b, struct agent_error **err)
{
	if (b->certificates.n == 0 || b->certificates.n != b->keys.n) {
		fputs("agentctl: each --signer CERTIFICATE needs its --key KEY, and there must be one\n", stderr);
		return 1;
	}
	if (b->keys.n > AGENT_BUNDLE_SIGNERS_MAX) {
		fprintf(stderr, "agentctl: at most %d sign together\n", AGENT_BUNDLE_SIGNERS_MAX);
		return 1;
	}
	for (size_t i = 0; i < b->keys.n; i++) {
		b->signers[i].certificate = b->certificates.items[i];
		if (strncmp(b->keys.items[i], "tpm:", 4) == 0) {
			int r = tpm_key_load(b, b->keys.items[i] + 4, &b->signers[i].signer, err);

			if (r < 0)
				return r;
		} else {
			b->signers[i].key = b->keys.items[i];
		}
	}
	return 0;
}

static int made(const struct ctl *ctl, const char *out)
{
	if (ctl->is_json) {
		json_t *body = json_pack("{s:s}", "out", out);

		print_json(body);
		json_decref(body);
	}
	return CTL_OK;
}

static int context_make(struct bundle *b, struct agent_error **err)
{
	return agent_context_new(&b->ctx) < 0 ? agent_error_set(err, -ENOMEM, "memory", "no memory") : 0;
}

/* A context, and in it those who sign; as signers_load(). */
static int signers_open(struct bundle *b, struct agent_error **err)
{
	int r = context_make(b, err);

	return r < 0 ? r : signers_load(b, err);
}

/* ---- create --------------------------------------------------------------------------------------------------------------- */

int cmd_bundle_create(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_bundle_ struct bundle b = { 0 };
	struct option_list products = { 0 }, classes = { 0 }, devices = { 0 };
	struct agent_bundle_options o = { 0 };
	const char *security = NULL, *min = NULL, *before = NULL, *after = NULL, *chunk = NULL, *aes = NULL;
	uint64_t min_signers = 0, chunk_bytes = 0;
	int scripts = 0;
	const struct option_row rows[] = {
		{ .name = "--out", .value = &o.out },
		{ .name = "--signer", .list = &b.certificates },
		{ .name = "--key", .list = &b.keys },
		{ .name = "--tcti", .value = &b.tcti },
		{ .name = "--description", .value = &o.description },
		{ .name = "--release-id", .value = &o.release_id },
		{ .name = "--security-version", .value = &security },
		{ .name = "--product", .list = &products },
		{ .name = "--min-signers", .value = &min },
		{ .name = "--not-before", .value = &before },
		{ .name = "--not-after", .value = &after },
		{ .name = "--slot-class", .list = &classes },
		{ .name = "--chunk-size", .value = &chunk },
		{ .name = "--compress", .value = &o.compress },
		{ .name = "--encryption-key", .value = &aes },
		{ .name = "--encrypt-to", .list = &devices },
		{ .name = "--scripts", .flag = &scripts },
	};
	int r;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &o.source, 1, 1) < 0 || time_now(&o.time_s) < 0 ||
	    number("--security-version", security, 0, INT64_MAX, &o.security_version) < 0 || number("--min-signers", min, 1, AGENT_BUNDLE_SIGNERS_MAX, &min_signers) < 0 ||
	    number("--not-before", before, 1, INT64_MAX, &o.not_before_s) < 0 || number("--not-after", after, 1, INT64_MAX, &o.not_after_s) < 0 ||
	    number("--chunk-size", chunk, 1, UINT32_MAX, &chunk_bytes) < 0)
		return CTL_USAGE;
	if (o.out == NULL) {
		fputs("agentctl: --out FILE is missing\n", stderr);
		return CTL_USAGE;
	}
	if (aes != NULL && aes_load(&b, aes) < 0)
		return CTL_FAILED;
	r = signers_open(&b, &err);
	if (r > 0)
		return CTL_USAGE;
	o.signers = b.signers;
	o.n_signers = b.keys.n;
	o.has_security_version = security != NULL;
	o.products = products.items;
	o.n_products = products.n;
	o.min_signers = (unsigned)min_signers;
	o.slot_classes = classes.items;
	o.n_slot_classes = classes.n;
	o.chunk_bytes = (uint32_t)chunk_bytes;
	o.aes_key = b.aes_key;
	o.aes_key_size = b.aes_key_size;
	o.aes_iv = b.has_iv ? b.aes_iv : NULL;
	o.encrypt_to = devices.items;
	o.n_encrypt_to = devices.n;
	o.with_scripts = scripts != 0;
	if (r == 0)
		r = agent_bundle_create(b.ctx, &o, &err);
	return r < 0 ? refused(ctl, err) : made(ctl, o.out);
}

/* ---- sign, resign --------------------------------------------------------------------------------------------------------- */

/* Does the file begin as a ticket? */
static bool is_ticket(const char *path)
{
	static const char begin[] = "agent service ticket ";
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[sizeof(begin) - 1];

	return fd >= 0 && read_full(fd, text, sizeof(text)) == (ssize_t)sizeof(text) && memcmp(text, begin, sizeof(text)) == 0;
}

static int sign(struct ctl *ctl, int argc, char **argv, enum agent_bundle_sign how)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_bundle_ struct bundle b = { 0 };
	const char *path = NULL, *out = NULL;
	const struct option_row rows[] = {
		{ .name = "--out", .value = &out },
		{ .name = "--signer", .list = &b.certificates },
		{ .name = "--key", .list = &b.keys },
		{ .name = "--tcti", .value = &b.tcti },
	};
	uint64_t now_s = 0;
	int r;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &path, 1, 1) < 0 || time_now(&now_s) < 0)
		return CTL_USAGE;
	if (out == NULL) {
		fputs("agentctl: --out FILE is missing\n", stderr);
		return CTL_USAGE;
	}
	r = signers_open(&b, &err);
	if (r > 0)
		return CTL_USAGE;
	if (r == 0 && how == AGENT_BUNDLE_SIGN_ADD && is_ticket(path))
		r = agent_bundle_ticket_sign(b.ctx, path, out, b.signers, b.keys.n, now_s, &err);
	else if (r == 0)
		r = agent_bundle_sign(b.ctx, path, out, b.signers, b.keys.n, how, now_s, &err);
	return r < 0 ? refused(ctl, err) : made(ctl, out);
}

int cmd_bundle_sign(struct ctl *ctl, int argc, char **argv)
{
	return sign(ctl, argc, argv, AGENT_BUNDLE_SIGN_ADD);
}

int cmd_bundle_resign(struct ctl *ctl, int argc, char **argv)
{
	return sign(ctl, argc, argv, AGENT_BUNDLE_SIGN_REPLACE);
}

/* ---- ticket --------------------------------------------------------------------------------------------------------------- */

int cmd_bundle_ticket(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_bundle_ struct bundle b = { 0 };
	struct agent_ticket_options o = { 0 };
	const char *used = NULL, *before = NULL, *after = NULL;
	const struct option_row rows[] = {
		{ .name = "--out", .value = &o.out },	    { .name = "--signer", .list = &b.certificates },
		{ .name = "--key", .list = &b.keys },	    { .name = "--tcti", .value = &b.tcti },
		{ .name = "--device", .value = &o.device }, { .name = "--used", .value = &used },
		{ .name = "--not-before", .value = &before }, { .name = "--not-after", .value = &after },
	};
	int r;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &o.bundle, 1, 1) < 0 || time_now(&o.time_s) < 0 ||
	    number("--used", used, 0, INT64_MAX, &o.counter) < 0 || number("--not-before", before, 1, INT64_MAX, &o.not_before_s) < 0 ||
	    number("--not-after", after, 1, INT64_MAX, &o.not_after_s) < 0)
		return CTL_USAGE;
	if (o.out == NULL || o.device == NULL || used == NULL || after == NULL) {
		fputs("agentctl: --out FILE, --device NAME, --used N and --not-after TIME are needed; agentctl update ticket on the device says which\n", stderr);
		return CTL_USAGE;
	}
	r = signers_open(&b, &err);
	if (r > 0)
		return CTL_USAGE;
	o.signers = b.signers;
	o.n_signers = b.keys.n;
	if (r == 0)
		r = agent_bundle_ticket(b.ctx, &o, &err);
	return r < 0 ? refused(ctl, err) : made(ctl, o.out);
}

/* ---- verify --------------------------------------------------------------------------------------------------------------- */

/* "-" is standard input. */
static int bundle_open(const char *path)
{
	int fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		fprintf(stderr, "agentctl: cannot open %s: %s\n", path, strerror(errno));
	return fd;
}

static int verified(const struct ctl *ctl, const struct agent_bundle_facts *facts)
{
	static const struct field fields[] = {
		{ "profile", "profile" },	{ "version", "version" }, { "release_id", "release" }, { "security_version", "security version" },
		{ "n_signers", "valid signers" }, { "n_images", "images" }, { "n_scripts", "scripts" }, { "needs", "the device needs" },
	};
	json_t *body = json_pack("{s:b, s:s, s:s, s:s, s:I, s:i, s:i}", "verified", 1, "profile", facts->is_strict ? "strict" : "stock", "version", facts->version,
				 "release_id", facts->release_id, "security_version", (json_int_t)facts->security_version, "n_signers", (int)facts->n_signers,
				 "n_images", (int)facts->n_images);

	json_object_set_new(body, "n_scripts", json_integer((json_int_t)facts->n_scripts));
	if (facts->n_scripts > 0)
		json_object_set_new(body, "needs", json_string("update.scripts = \"run\""));

	if (ctl->is_json)
		print_json(body);
	else
		print_fields(body, fields, ARRAY_SIZE(fields));
	json_decref(body);
	return CTL_OK;
}

int cmd_bundle_verify(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_bundle_ struct bundle b = { 0 };
	_cleanup_close_ int fd = -1;
	struct agent_bundle_policy policy = { .now_s = (uint64_t)time(NULL) };
	struct agent_bundle_facts facts;
	const char *path = NULL, *floor = NULL, *min = NULL, *now = NULL, *raw = NULL, *aes = NULL;
	uint64_t min_signers = 1;
	const struct option_row rows[] = {
		{ .name = "--trust", .value = &policy.trust_dir }, { .name = "--product", .value = &policy.product },
		{ .name = "--floor", .value = &floor },		   { .name = "--min-signers", .value = &min },
		{ .name = "--time", .value = &now },		   { .name = "--compat", .flag = &policy.allow_compat },
		{ .name = "--raw", .value = &raw },		   { .name = "--selection", .value = &policy.selection },
		{ .name = "--encryption-key", .value = &aes },	   { .name = "--require-crl", .flag = &policy.require_crl },
		{ .name = "--scripts", .flag = &policy.allow_scripts },
	};
	int r;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &path, 1, 1) < 0 || number("--floor", floor, 0, INT64_MAX, &policy.floor) < 0 ||
	    number("--min-signers", min, 1, AGENT_BUNDLE_SIGNERS_MAX, &min_signers) < 0 || number("--time", now, 0, INT64_MAX, &policy.now_s) < 0)
		return CTL_USAGE;
	if (policy.trust_dir == NULL || (raw != NULL && strcmp(raw, "rsa") != 0 && strcmp(raw, "rsa-pss") != 0)) {
		fputs(policy.trust_dir == NULL ? "agentctl: --trust FOLDER is missing: the certificates of those who may sign\n" :
						 "agentctl: --raw is rsa or rsa-pss\n", stderr);
		return CTL_USAGE;
	}
	if (raw != NULL)
		policy.raw_signatures = strcmp(raw, "rsa") == 0 ? AGENT_UPDATE_RAW_RSA : AGENT_UPDATE_RAW_RSA_PSS;
	if (aes != NULL && aes_load(&b, aes) < 0)
		return CTL_FAILED;
	policy.n_min_signers = (unsigned)min_signers;
	policy.aes_key = b.aes_key;
	policy.aes_key_size = b.aes_key_size;
	policy.aes_iv = b.has_iv ? b.aes_iv : NULL;
	fd = bundle_open(path);
	if (fd < 0)
		return CTL_FAILED;
	r = context_make(&b, &err);
	if (r == 0)
		r = agent_bundle_verify(b.ctx, fd, &policy, &facts, &err);
	return r < 0 ? refused(ctl, err) : verified(ctl, &facts);
}

/* ---- inspect -------------------------------------------------------------------------------------------------------------- */

static void image_print(const json_t *image)
{
	static const struct field fields[] = {
		{ "selection", "  selection" },	  { "type", "  type" },		    { "slot_class", "  slot class" },
		{ "device", "  device" }, { "volume", "  volume" }, { "path", "  path" },		    { "compressed", "  compressed" },
		{ "encrypted", "  encrypted" },	  { "size", "  bytes" },	    { "decompressed_size", "  unpacked" },
		{ "decrypted_size", "  decrypted" }, { "sha256", "  SHA-256" },	    { "sha256_matches", "  found" },
		{ "chunk_size", "  chunk bytes" }, { "chunk_table_matches", "  chunk table found" },
	};

	printf("%s  ", json_string_value(json_object_get(image, "section")));
	print_text(stdout, json_string_value(json_object_get(image, "filename")));
	fputc('\n', stdout);
	print_fields(image, fields, ARRAY_SIZE(fields));
}

static void signer_print(const json_t *signer)
{
	static const struct field fields[] = { { "issuer", "  issuer" }, { "key_sha256", "  key (SHA-256)" }, { "digest", "  digest" } };

	fputs("signer  ", stdout);
	print_text(stdout, json_string_value(json_object_get(signer, "subject")));
	fputs("\n  signed  ", stdout);
	print_time(stdout, (uint64_t)json_integer_value(json_object_get(signer, "signed")));
	fputc('\n', stdout);
	print_fields(signer, fields, ARRAY_SIZE(fields));
}

static void inspection_print(const json_t *body)
{
	static const struct field fields[] = {
		{ "profile", "profile" }, { "version", "version" }, { "description", "description" }, { "release_id", "release" },
		{ "security_version", "security version" }, { "products", "products" }, { "hardware_compatibility", "hardware compatibility" },
		{ "min_signers", "signers wanted" }, { "not_before", "not before" }, { "not_after", "not after" }, { "trust_policy", "change of signers" },
		{ "scripts", "scripts to run" }, { "signature", "signature" },
	};
	const json_t *one;
	size_t i;

	fputs("Nothing of this was verified.\n", stdout);
	print_fields(body, fields, ARRAY_SIZE(fields));
	json_array_foreach(json_object_get(body, "signers"), i, one)
		signer_print(one);
	json_array_foreach(json_object_get(body, "images"), i, one)
		image_print(one);
	json_array_foreach(json_object_get(body, "members"), i, one) {
		printf("member  %s  %12" JSON_INTEGER_FORMAT "  ", json_string_value(json_object_get(one, "sha256")), json_integer_value(json_object_get(one, "size")));
		print_text(stdout, json_string_value(json_object_get(one, "name")));
		fputc('\n', stdout);
	}
}

int cmd_bundle_inspect(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_bundle_ struct bundle b = { 0 };
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *text = NULL;
	const char *path = NULL;
	json_t *body;
	int r, code;

	if (options_parse(argc, argv, NULL, 0, &path, 1, 1) < 0)
		return CTL_USAGE;
	fd = bundle_open(path);
	if (fd < 0)
		return CTL_FAILED;
	r = context_make(&b, &err);
	if (r == 0)
		r = agent_bundle_inspect(b.ctx, fd, &text, &err);
	if (r < 0)
		return refused(ctl, err);
	body = json_loads(text, 0, NULL);
	if (ctl->is_json)
		print_json(body);
	else
		inspection_print(body);
	code = json_object_get(body, "problem") == NULL ? CTL_OK : CTL_UPDATE_REFUSED;
	if (code != CTL_OK) {
		fprintf(stderr, "agentctl: %s: ", json_string_value(json_object_get(body, "problem_name")));
		print_text(stderr, json_string_value(json_object_get(body, "problem")));
		fputc('\n', stderr);
	}
	json_decref(body);
	return code;
}
