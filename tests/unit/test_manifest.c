/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "update/manifest.h"
#include "update/verify_private.h"

#define HASH_A "69c88787ac226ee5aa3fbcaed5f922fb9d6b02ff9785337e34a2fd8e86585116"
#define HASH_B "6647721a0201c8614cb853c2536e4e15fb24060752ed19315fe6573e904129d5"
#define HASH_0 "0000000000000000000000000000000000000000000000000000000000000000"
#define PROPERTIES "slot-class = \"rootfs\"; chunk-table = \"t\"; chunk-table-sha256 = \"" HASH_B "\"; chunk-size = \"65536\";"
#define ELEMENT_(device, more, properties) \
	"{ filename = \"i\"; type = \"raw\"; device = \"" device "\"; installed-directly = true; sha256 = \"" HASH_A "\"; size = 100000L; " more \
	" properties = { " properties " }; }"
#define UBI_ELEMENT(more) "{ filename = \"i\"; sha256 = \"" HASH_A "\"; size = 100000L; " more " properties = { " PROPERTIES " }; }"
#define ELEMENT(device) ELEMENT_(device, "", PROPERTIES)
#define AGENT "agent = { profile = \"1\"; release-id = \"r-1\"; security-version = 7L; products = [ \"gw:1\", \"gw:2\" ]; };"
#define SOFTWARE(body) "software = { version = \"1.0\"; " body " };"
#define STABLE "stable = { copy-1 = { images = ( " ELEMENT("/dev/a") " ); }; copy-2 = { images = ( " ELEMENT("/dev/b") " ); }; };"

static int parse_with(const char *text, bool allow_compat, bool allow_scripts, struct manifest **ret_manifest, struct agent_error **err)
{
	/* An exact copy lets ASan see one byte too far. */
	_cleanup_free_ char *copy = strdup(text);
	struct verified_buf buf = { .data = copy, .size = strlen(text), .signers = { .n = 1 } };

	return manifest_parse(&buf, &(struct manifest_policy){ .allow_compat = allow_compat, .allow_scripts = allow_scripts, .product = "gw:1" }, ret_manifest, err);
}

static int parse(const char *text, bool allow_compat, struct manifest **ret_manifest, struct agent_error **err)
{
	return parse_with(text, allow_compat, false, ret_manifest, err);
}

static void check_good(const struct manifest *m)
{
	assert_true(m->is_strict);
	assert_string_equal(m->version, "1.0");
	assert_string_equal(m->release_id, "r-1");
	assert_int_equal(m->security_version, 7);
	assert_int_equal(m->n_min_signers, 1);
	assert_int_equal(m->n_images, 1);
	assert_string_equal(m->images[0].member, "i");
	assert_string_equal(m->images[0].slot_class, "rootfs");
	assert_string_equal(m->images[0].table_member, "t");
	assert_string_equal(m->images[0].filter, "none");
	assert_int_equal(m->images[0].stored_bytes, 100000);
	assert_int_equal(m->images[0].plain_bytes, 100000);
	assert_int_equal(m->images[0].chunk_bytes, 65536);
	assert_int_equal(manifest_image_chunks(&m->images[0]), 2);
	assert_true(manifest_fits(m, "gw:1"));
	assert_true(manifest_fits(m, "gw:2"));
	assert_false(manifest_fits(m, "gw:12"));
	assert_false(manifest_fits(m, "1"));
	assert_false(manifest_fits(m, "GW:1"));
}

static void libconfig_and_json_say_the_same(void **state)
{
	static const char json[] =
		" {\"software\":{\"version\":\"1.0\",\"stable\":{\"copy-1\":{\"images\":[{\"filename\":\"i\",\"sha256\":\"" HASH_A
		"\",\"size\":100000,\"properties\":{\"slot-class\":\"rootfs\",\"chunk-table\":\"t\",\"chunk-table-sha256\":\"" HASH_B
		"\",\"chunk-size\":65536}}]}}},\"agent\":{\"profile\":\"1\",\"release-id\":\"r-1\",\"security-version\":7,\"products\":[\"gw:1\",\"gw:2\"]}}\n";
	_cleanup_(manifest_freep) struct manifest *a = NULL, *b = NULL;

	assert_int_equal(parse(SOFTWARE(STABLE) AGENT, false, &a, NULL), 0);
	check_good(a);
	assert_int_equal(parse(json, false, &b, NULL), 0);
	check_good(b);
}

static void a_ubi_volume_is_chosen_by_the_class_of_slots_in_both_syntaxes(void **state)
{
	static const char json[] =
		"{\"software\":{\"version\":\"1.0\",\"stable\":{\"m\":{\"images\":[{\"filename\":\"i\",\"type\":\"ubivol\",\"sha256\":\"" HASH_A
		"\",\"size\":100000,\"properties\":{\"slot-class\":\"rootfs\",\"chunk-table\":\"t\",\"chunk-table-sha256\":\"" HASH_B
		"\",\"chunk-size\":65536}}]}}},\"agent\":{\"profile\":\"1\",\"release-id\":\"r-1\",\"security-version\":7,\"products\":[\"gw:1\",\"gw:2\"]}}";
	_cleanup_(manifest_freep) struct manifest *a = NULL, *b = NULL;

	/* Selections for stock SWUpdate may differ in the volume, as in the device. */
	assert_int_equal(parse(SOFTWARE("stable = { copy-1 = { images = ( " UBI_ELEMENT("volume = \"rootfs_a\";") " ); }; "
					"copy-2 = { images = ( " UBI_ELEMENT("volume = \"rootfs_b\"; type = \"ubivol\";") " ); }; };") AGENT, false, &a, NULL), 0);
	check_good(a);
	assert_string_equal(a->images[0].type, "ubivol");
	assert_int_equal(parse(json, false, &b, NULL), 0);
	check_good(b);
	assert_memory_equal(a->images, b->images, sizeof(a->images));
}

static void the_agent_group_carries_limits(void **state)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;

	assert_int_equal(parse(SOFTWARE(STABLE) "agent = { profile = \"1\"; release-id = \"r\"; security-version = 9223372036854775807L; products = [ \"x\" ]; "
						"min-signers = 2; not-before = 5; not-after = 4102444800L; };", false, &m, NULL), 0);
	assert_int_equal(m->n_min_signers, 2);
	assert_int_equal(m->not_before_s, 5);
	assert_true(m->not_after_s == 4102444800);
	assert_true(m->security_version == INT64_MAX);
}

static void compressed_images_need_their_plain_size(void **state)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(parse(SOFTWARE("images = ( " ELEMENT_("x", "compressed = \"zstd\";", PROPERTIES "decompressed-size = \"500000\";") " );") AGENT,
			       false, &m, NULL), 0);
	assert_string_equal(m->images[0].filter, "zstd");
	assert_int_equal(m->images[0].plain_bytes, 500000);
	m = manifest_free(m);
	assert_int_equal(parse(SOFTWARE("images = ( " ELEMENT_("x", "compressed = true;", PROPERTIES) " );") AGENT, false, &m, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "manifest.missing");
}

#define ONE(more) SOFTWARE("images = ( " ELEMENT_("x", more, PROPERTIES) " );") AGENT
#define PROPS(properties) SOFTWARE("images = ( " ELEMENT_("x", "", properties) " );") AGENT
#define SECTION(name) SOFTWARE(STABLE " " name " = ( { filename = \"f\"; } );") AGENT
#define GROUP(body) SOFTWARE(STABLE) "agent = { " body " };"
#define G "profile = \"1\"; release-id = \"r\"; security-version = 1; products = [ \"x\" ];"

static void what_is_not_the_profile_is_refused(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *error;
	} cases[] = {
		/* syntax */
		{ "", -EBADMSG, "manifest.missing" },
		{ "{", -EBADMSG, "manifest.syntax" },
		{ "{}", -EBADMSG, "manifest.missing" },
		{ "[]", -EBADMSG, "manifest.syntax" },
		{ "software = ", -EBADMSG, "manifest.syntax" },
		{ "software = 1;", -EBADMSG, "manifest.missing" },
		{ SOFTWARE(STABLE) AGENT " x", -EBADMSG, "manifest.syntax" },
		{ "{\"software\":{},\"software\":{}}", -EBADMSG, "manifest.duplicate" },
		{ "{\"software\":{\"version\":1.5}}", -EBADMSG, "manifest.syntax" },
		{ "{\"software\":{}} {}", -EBADMSG, "manifest.syntax" },
		{ "software = { version = 1.5; };", -EBADMSG, "manifest.syntax" },
		{ "a = ((((((((((((((((((((1))))))))))))))))))));", -EMSGSIZE, "manifest.depth" },
		{ "{\"a\":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}", -EMSGSIZE, "manifest.depth" },
		{ "@include \"/etc/passwd\"\n" SOFTWARE(STABLE) AGENT, -EBADMSG, "manifest.include" },
		{ SOFTWARE(STABLE) "\n  @include \"x\"\n" AGENT, -EBADMSG, "manifest.include" },
		{ SOFTWARE(STABLE) AGENT AGENT, -EBADMSG, "manifest.duplicate" },
		/* root */
		{ SOFTWARE(STABLE), -EBADMSG, "manifest.missing" },
		{ AGENT, -EBADMSG, "manifest.missing" },
		{ SOFTWARE(STABLE) AGENT "extra = { };", -EBADMSG, "manifest.unknown" },
		{ "software = { " STABLE " };" AGENT, -EBADMSG, "manifest.missing" },
		{ "software = { version = \"a b\"; " STABLE " };" AGENT, -EBADMSG, "manifest.value" },
		{ "software = { version = \"\"; " STABLE " };" AGENT, -EBADMSG, "manifest.value" },
		{ "software = { version = 1; " STABLE " };" AGENT, -EBADMSG, "manifest.type" },
		/* sections whose content we would have to run or place */
		{ SECTION("files"), -EBADMSG, "manifest.missing" },
		{ SOFTWARE(STABLE " files = ( " ELEMENT("x") " );") AGENT, -EBADMSG, "manifest.missing" },
		{ SECTION("scripts"), -EOPNOTSUPP, "manifest.unsupported" },
		{ SECTION("partitions"), -EOPNOTSUPP, "manifest.unsupported" },
		{ SECTION("bootenv"), -EBADMSG, "manifest.unknown" }, /* its element is no variable */
		{ SECTION("uboot"), -EOPNOTSUPP, "manifest.unsupported" },
		{ SECTION("vars"), -EOPNOTSUPP, "manifest.unsupported" },
		{ SECTION("surprise"), -EBADMSG, "manifest.unknown" },
		{ SOFTWARE(STABLE " embedded-script = \"os.execute()\";") AGENT, -EOPNOTSUPP, "manifest.unsupported" },
		{ SOFTWARE("stable = { m = { scripts = ( { filename = \"s\"; } ); images = ( " ELEMENT("x") " ); }; };") AGENT, -EOPNOTSUPP, "manifest.unsupported" },
		{ SOFTWARE("stable = { ref = \"#./x\"; m = { images = ( " ELEMENT("x") " ); }; };") AGENT, -EOPNOTSUPP, "manifest.unsupported" },
		{ SOFTWARE("a = { b = { c = { d = { images = ( " ELEMENT("x") " ); }; }; }; };") AGENT, -EBADMSG, "manifest.unknown" },
		{ SOFTWARE(""), -EBADMSG, "manifest.missing" },
		{ SOFTWARE("") AGENT, -EBADMSG, "manifest.missing" },
		{ SOFTWARE("images = ( );") AGENT, -EMSGSIZE, "manifest.images" },
		{ SOFTWARE("images = { };") AGENT, -EBADMSG, "manifest.type" },
		{ SOFTWARE("images = ( 1 );") AGENT, -EBADMSG, "manifest.type" },
		/* selections that are not the same images */
		{ SOFTWARE("s = { a = { images = ( " ELEMENT("x") " ); }; b = { images = ( " ELEMENT_("x", "compressed = \"zlib\";", PROPERTIES "decompressed-size = \"9\";")
			   " ); }; };") AGENT, -EBADMSG, "manifest.modes" },
		{ SOFTWARE("images = ( " ELEMENT("x") ", " ELEMENT("x") " );") AGENT, -EBADMSG, "manifest.duplicate" },
		/* elements */
		{ ONE("hook = \"f\";"), -EOPNOTSUPP, "manifest.unsupported" },
		{ ONE("encrypted = true;"), -EBADMSG, "manifest.missing" },
		{ ONE("encrypted = \"aes-gcm\";"), -EOPNOTSUPP, "manifest.unsupported" },
		{ ONE("ivt = \"00112233445566778899aabbccddeeff\";"), -EBADMSG, "manifest.value" },
		{ ONE("encrypted = \"aes-cbc\"; ivt = \"0011\";"), -EBADMSG, "manifest.value" },
		{ ONE("offset = \"4K\";"), -EOPNOTSUPP, "manifest.unsupported" },
		{ ONE("volume = \"v\";"), -EBADMSG, "manifest.value" }, /* type "raw" */
		{ SOFTWARE("images = ( " UBI_ELEMENT("volume = \"\";") " );") AGENT, -EBADMSG, "manifest.value" },
		{ SOFTWARE("images = ( " UBI_ELEMENT("volume = 1;") " );") AGENT, -EBADMSG, "manifest.type" },
		{ SOFTWARE("images = ( " UBI_ELEMENT("volume = \"a\\nb\";") " );") AGENT, -EBADMSG, "manifest.value" },
		{ SOFTWARE("images = ( " UBI_ELEMENT("type = \"ubivol\"; offset = \"4K\";") " );") AGENT, -EOPNOTSUPP, "manifest.unsupported" },
		{ SOFTWARE("files = ( " UBI_ELEMENT("type = \"ubivol\"; path = \"/x\";") " );") AGENT, -EBADMSG, "manifest.value" },
		{ SOFTWARE("images = ( " UBI_ELEMENT("volume = \"v\";") ", " UBI_ELEMENT("type = \"ubivol\";") " );") AGENT, -EBADMSG, "manifest.duplicate" },
		{ SOFTWARE("images = ( " UBI_ELEMENT("volume = \"v\";") ", " ELEMENT("x") " );") AGENT, -EBADMSG, "manifest.duplicate" },
		{ ONE("install-if-different = true;"), -EOPNOTSUPP, "manifest.unsupported" },
		{ ONE("ref = \"#./x\";"), -EOPNOTSUPP, "manifest.unsupported" },
		{ ONE("preinstall = \"f\";"), -EOPNOTSUPP, "manifest.unsupported" },
		{ ONE("compressed = \"xz\";"), -EOPNOTSUPP, "manifest.unsupported" },
		{ ONE("colour = 1;"), -EBADMSG, "manifest.unknown" },
		{ SOFTWARE("images = ( { filename = \"i\"; } );") AGENT, -EBADMSG, "manifest.missing" },
		{ SOFTWARE("images = ( { filename = \"i\"; size = 1; sha256 = \"" HASH_0 "\"; } );") AGENT, -EBADMSG, "manifest.value" },
		{ SOFTWARE("images = ( { filename = \"i\"; size = 1; sha256 = \"abc\"; } );") AGENT, -EBADMSG, "manifest.value" },
		{ SOFTWARE("images = ( { filename = \"i\"; sha256 = \"" HASH_A "\"; } );") AGENT, -EBADMSG, "manifest.missing" },
		{ SOFTWARE("images = ( { filename = \"i\"; size = 0; sha256 = \"" HASH_A "\"; } );") AGENT, -EBADMSG, "manifest.value" },
		{ SOFTWARE("images = ( { filename = \"i\"; size = -1; sha256 = \"" HASH_A "\"; } );") AGENT, -EBADMSG, "manifest.type" },
		{ SOFTWARE("images = ( { filename = \"i\"; size = 4294967296L; sha256 = \"" HASH_A "\"; } );") AGENT, -EBADMSG, "manifest.value" },
		{ SOFTWARE("images = ( { filename = \"i\"; size = 1; sha256 = \"" HASH_A "\"; } );") AGENT, -EBADMSG, "manifest.missing" },
		{ SOFTWARE("images = ( { filename = \"../i\"; size = 1; sha256 = \"" HASH_A "\"; } );") AGENT, -EBADMSG, "manifest.value" },
		/* properties */
		{ PROPS("slot-class = \"rootfs\";"), -EBADMSG, "manifest.missing" },
		{ PROPS(PROPERTIES "more = \"x\";"), -EBADMSG, "manifest.unknown" },
		{ PROPS(PROPERTIES "decompressed-size = \"1\";"), -EBADMSG, "manifest.value" },
		{ PROPS("slot-class = \"a b\"; chunk-table = \"t\"; chunk-table-sha256 = \"" HASH_B "\"; chunk-size = \"65536\";"), -EBADMSG, "manifest.value" },
		{ PROPS("slot-class = \"r\"; chunk-table = \"i\"; chunk-table-sha256 = \"" HASH_B "\"; chunk-size = \"65536\";"), -EBADMSG, "manifest.duplicate" },
		{ PROPS("slot-class = \"r\"; chunk-table = \"sw-description\"; chunk-table-sha256 = \"" HASH_B "\"; chunk-size = \"65536\";"), -EBADMSG, "manifest.duplicate" },
		{ PROPS("slot-class = \"r\"; chunk-table = \"t\"; chunk-table-sha256 = \"" HASH_B "\"; chunk-size = \"32768\";"), -EBADMSG, "manifest.value" },
		{ PROPS("slot-class = \"r\"; chunk-table = \"t\"; chunk-table-sha256 = \"" HASH_B "\"; chunk-size = \"2097152\";"), -EBADMSG, "manifest.value" },
		{ PROPS("slot-class = \"r\"; chunk-table = \"t\"; chunk-table-sha256 = \"" HASH_B "\"; chunk-size = \"65537\";"), -EBADMSG, "manifest.value" },
		{ PROPS("slot-class = \"r\"; chunk-table = \"t\"; chunk-table-sha256 = \"" HASH_B "\"; chunk-size = \"64K\";"), -EBADMSG, "manifest.type" },
		/* the agent group */
		{ SOFTWARE(STABLE) "agent = 1;", -EBADMSG, "manifest.type" },
		{ GROUP(""), -EBADMSG, "manifest.missing" },
		{ GROUP("profile = \"2\";"), -EOPNOTSUPP, "manifest.profile" },
		{ GROUP("profile = 1;"), -EBADMSG, "manifest.type" },
		{ GROUP(G "later = 1;"), -EBADMSG, "manifest.unknown" },
		{ GROUP(G "min-signers = 0;"), -EBADMSG, "manifest.value" },
		{ GROUP(G "min-signers = 9;"), -EBADMSG, "manifest.value" },
		{ GROUP(G "kind = \"urgent\";"), -EBADMSG, "manifest.value" },
		{ GROUP(G "kind = \"security-\";"), -EBADMSG, "manifest.value" },
		{ GROUP(G "kind = 1;"), -EBADMSG, "manifest.type" },
		{ GROUP(G "advisory = \"\";"), -EBADMSG, "manifest.value" },
		{ GROUP(G "advisory = \"a\tb\";"), -EBADMSG, "manifest.value" },
		{ GROUP(G "not-after = 0;"), -EBADMSG, "manifest.value" },
		{ GROUP(G "not-before = 5; not-after = 4;"), -EBADMSG, "manifest.value" },
		{ GROUP("profile = \"1\"; release-id = \"r\"; security-version = 1; products = [ ];"), -EBADMSG, "manifest.value" },
		{ GROUP("profile = \"1\"; release-id = \"r\"; security-version = 1; products = [ 1 ];"), -EBADMSG, "manifest.type" },
		{ GROUP("profile = \"1\"; release-id = \"r\"; security-version = 1;"), -EBADMSG, "manifest.missing" },
		{ GROUP("profile = \"1\"; release-id = \"r\"; security-version = -1; products = [ \"x\" ];"), -EBADMSG, "manifest.type" },
		{ GROUP("profile = \"1\"; release-id = \"a/b\"; security-version = 1; products = [ \"x\" ];"), -EBADMSG, "manifest.value" },
		{ GROUP("profile = \"1\"; release-id = \"r\"; products = [ \"x\" ];"), -EBADMSG, "manifest.missing" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_error_ struct agent_error *err = NULL;
		int r = parse(cases[i].text, false, &m, &err);

		if (r != cases[i].r || strcmp(agent_error_name(err), cases[i].error) != 0)
			fail_msg("case %zu: %d %s \"%s\", wanted %s, for: %s", i, r, agent_error_name(err), agent_error_message(err), cases[i].error, cases[i].text);
		assert_null(m);
	}
}

static void a_nul_byte_is_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct manifest *m = NULL;
	char text[] = SOFTWARE(STABLE) AGENT "#x#";
	struct verified_buf buf = { .data = text, .size = sizeof(text) - 1, .signers = { .n = 1 } };

	text[sizeof(text) - 3] = '\0';
	assert_int_equal(manifest_parse(&buf, &(struct manifest_policy){ .product = "gw:1" }, &m, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "manifest.syntax");
}

static void every_prefix_is_refused_or_whole(void **state)
{
	static const char text[] = SOFTWARE(STABLE) AGENT;

	for (size_t n = 0; n < sizeof(text) - 2; n++) {
		_cleanup_free_ char *copy = strndup(text, n);
		struct verified_buf buf = { .data = copy, .size = n, .signers = { .n = 1 } };
		_cleanup_(manifest_freep) struct manifest *m = NULL;

		assert_int_not_equal(manifest_parse(&buf, &(struct manifest_policy){ .product = "gw:1" }, &m, NULL) == 0 && n < sizeof(text) - 3, 1);
	}
}

static void a_stock_bundle_needs_permission(void **state)
{
	static const char stock[] =
		SOFTWARE("hardware-compatibility = [ \"1.0\", \"#RE:^2\" ]; stable = { copy-1 = { images = ( { filename = \"r.ext4\"; device = \"/dev/x\"; type = \"raw\"; "
			 "sha256 = \"" HASH_A "\"; properties = { subtype = \"x\"; }; } ); }; };");
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(parse(stock, false, &m, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "manifest.missing");
	assert_int_equal(parse(stock, true, &m, NULL), 0);
	assert_false(m->is_strict);
	assert_int_equal(m->security_version, 0);
	assert_string_equal(m->release_id, "1.0");
	assert_false(m->images[0].has_stored_bytes);
	assert_false(m->images[0].has_chunks);
	assert_true(manifest_fits(m, "gw:1.0"));
	assert_false(manifest_fits(m, "gw:1.00"));
	assert_true(manifest_fits(m, "gw:2"));
	assert_false(manifest_fits(m, "gw:21")); /* stock SWUpdate would say yes */
	m = manifest_free(m);
	/* With permission an agent group still means the strict rules. */
	assert_int_equal(parse(SOFTWARE("images = ( { filename = \"i\"; sha256 = \"" HASH_A "\"; } );") AGENT, true, &m, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "manifest.missing");
	assert_int_equal(parse(SOFTWARE("hardware-compatibility = [ \"1\" ]; images = ( { filename = \"i\"; } );"), true, &m, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "manifest.missing");
	assert_int_equal(parse(SOFTWARE("hardware-compatibility = [ \"1\" ]; scripts = ( { filename = \"s\"; } ); images = ( { filename = \"i\"; sha256 = \"" HASH_A "\"; } );"),
			       true, &m, &err), -EOPNOTSUPP);
	assert_error(&err, -EOPNOTSUPP, "manifest.unsupported");
}

#define SCRIPT(name, more) "{ filename = \"" name "\"; sha256 = \"" HASH_B "\"; " more " }"
#define SCRIPTS(list, names) SOFTWARE("stable = { copy-1 = { images = ( " ELEMENT("/dev/a") " ); scripts = ( " list " ); }; };") GROUP_ONLY(G names)
#define GROUP_ONLY(body) "agent = { " body " };"
#define POST "type = \"postinstall\";"
#define ONE_SCRIPT(more) SCRIPTS(SCRIPT("s", more), "scripts = [ \"s\" ];")

static void scripts_stand_in_their_order(void **state)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;

	assert_int_equal(parse_with(SCRIPTS(SCRIPT("both", "type = \"shellscript\"; name = \"n\"; version = \"1\";") ", " SCRIPT("pre", "type = \"preinstall\"; size = 7;") ", "
					    SCRIPT("post", POST), "scripts = [ \"post\", \"pre\", \"both\" ];"), false, true, &m, NULL), 0);
	assert_int_equal(m->n_scripts, 3);
	assert_string_equal(m->scripts[0].member, "both");
	assert_int_equal(m->scripts[0].when, MANIFEST_SCRIPT_BOTH);
	assert_false(m->scripts[0].has_size);
	assert_int_equal(m->scripts[1].when, MANIFEST_SCRIPT_BEFORE);
	assert_true(m->scripts[1].has_size);
	assert_int_equal(m->scripts[1].size_bytes, 7);
	assert_int_equal(m->scripts[2].when, MANIFEST_SCRIPT_AFTER);
	m = manifest_free(m);
	/* Without them nothing has to be said, and an empty list says just that. */
	assert_int_equal(parse_with(SOFTWARE(STABLE) GROUP_ONLY(G "scripts = [ ];"), false, false, &m, NULL), 0);
	assert_int_equal(m->n_scripts, 0);
}

static void bad_scripts_are_refused(void **state)
{
	static const char eight[] = SCRIPT("1", POST) "," SCRIPT("2", POST) "," SCRIPT("3", POST) "," SCRIPT("4", POST) "," SCRIPT("5", POST) ","
				    SCRIPT("6", POST) "," SCRIPT("7", POST) "," SCRIPT("8", POST);
	static const struct {
		const char *text;
		int r;
		const char *error, *says;
	} cases[] = {
		/* once more by name */
		{ SCRIPTS(SCRIPT("s", POST), ""), -EOPNOTSUPP, "manifest.unsupported", "script s is not named in agent.scripts" },
		{ SCRIPTS(SCRIPT("s", POST), "scripts = [ ];"), -EOPNOTSUPP, "manifest.unsupported", "script s is not named" },
		{ SCRIPTS(SCRIPT("s", POST), "scripts = [ \"S\" ];"), -EOPNOTSUPP, "manifest.unsupported", "script s is not named" },
		{ SCRIPTS(SCRIPT("s", POST), "scripts = [ \"s\", \"t\" ];"), -EBADMSG, "manifest.value", "names 2 scripts" },
		{ SCRIPTS(SCRIPT("s", POST), "scripts = [ \"s\", \"s\" ];"), -EBADMSG, "manifest.value", "names 2 scripts" },
		{ SCRIPTS(SCRIPT("s", POST), "scripts = [ 1 ];"), -EOPNOTSUPP, "manifest.unsupported", "script s is not named" },
		{ SCRIPTS(SCRIPT("s", POST), "scripts = \"s\";"), -EBADMSG, "manifest.type", "agent.scripts must be a list" },
		{ SCRIPTS(SCRIPT("s", POST), "scripts = true;"), -EBADMSG, "manifest.type", "agent.scripts must be a list" },
		{ SOFTWARE(STABLE) GROUP_ONLY(G "scripts = [ \"s\" ];"), -EBADMSG, "manifest.value", "names 1 scripts, the bundle has 0" },
		/* Lua and whatever comes later */
		{ ONE_SCRIPT(""), -EOPNOTSUPP, "manifest.unsupported", "script 0 (s): scripts of type lua" },
		{ ONE_SCRIPT("type = \"lua\";"), -EOPNOTSUPP, "manifest.unsupported", "type lua" },
		{ ONE_SCRIPT("type = \"ubiswap\";"), -EOPNOTSUPP, "manifest.unsupported", "type ubiswap" },
		{ ONE_SCRIPT("type = \"Shellscript\";"), -EOPNOTSUPP, "manifest.unsupported", "type Shellscript" },
		{ ONE_SCRIPT("type = 1;"), -EBADMSG, "manifest.type", "type" },
		{ ONE_SCRIPT("type = \"\";"), -EBADMSG, "manifest.value", "type" },
		/* what we would pass over */
		{ ONE_SCRIPT(POST "data = \"argument\";"), -EBADMSG, "manifest.unknown", "data" },
		{ ONE_SCRIPT(POST "compressed = true;"), -EBADMSG, "manifest.unknown", "compressed" },
		{ ONE_SCRIPT(POST "encrypted = true;"), -EBADMSG, "manifest.unknown", "encrypted" },
		{ ONE_SCRIPT(POST "install-if-different = true;"), -EBADMSG, "manifest.unknown", "install-if-different" },
		{ ONE_SCRIPT(POST "ref = \"#./x\";"), -EBADMSG, "manifest.unknown", "ref" },
		{ ONE_SCRIPT(POST "hook = \"f\";"), -EBADMSG, "manifest.unknown", "hook" },
		/* members */
		{ SCRIPTS("{ filename = \"s\"; " POST " }", "scripts = [ \"s\" ];"), -EBADMSG, "manifest.missing", "sha256" },
		{ SCRIPTS("{ sha256 = \"" HASH_B "\"; " POST " }", ""), -EBADMSG, "manifest.missing", "filename" },
		{ SCRIPTS("{ filename = \"s\"; sha256 = \"" HASH_0 "\"; " POST " }", ""), -EBADMSG, "manifest.value", "sha256" },
		{ SCRIPTS("{ filename = \"s\"; sha256 = \"abc\"; " POST " }", ""), -EBADMSG, "manifest.value", "sha256" },
		{ SCRIPTS(SCRIPT("../s", POST), ""), -EBADMSG, "manifest.value", "filename" },
		{ SCRIPTS(SCRIPT("a/s", POST), ""), -EBADMSG, "manifest.value", "filename" },
		{ SCRIPTS(SCRIPT("", POST), ""), -EBADMSG, "manifest.value", "filename" },
		{ ONE_SCRIPT(POST "size = 0;"), -EBADMSG, "manifest.value", "size" },
		{ ONE_SCRIPT(POST "size = 65537;"), -EBADMSG, "manifest.value", "size" },
		{ ONE_SCRIPT(POST "size = \"x\";"), -EBADMSG, "manifest.type", "size" },
		{ SCRIPTS(SCRIPT("i", POST), "scripts = [ \"i\" ];"), -EBADMSG, "manifest.duplicate", "member i is named twice" },
		{ SCRIPTS(SCRIPT("t", POST), "scripts = [ \"t\" ];"), -EBADMSG, "manifest.duplicate", "member t is named twice" },
		{ SCRIPTS(SCRIPT("sw-description", POST), "scripts = [ \"sw-description\" ];"), -EBADMSG, "manifest.duplicate", "sw-description" },
		{ SCRIPTS(SCRIPT("s", POST) ", " SCRIPT("s", POST), "scripts = [ \"s\", \"s\" ];"), -EBADMSG, "manifest.duplicate", "member s is named twice" },
		/* the section */
		{ SCRIPTS("1", ""), -EBADMSG, "manifest.type", "script 0 must be a group" },
		{ SOFTWARE(STABLE " scripts = { };") AGENT, -EBADMSG, "manifest.type", "scripts must be a list" },
		{ SOFTWARE("scripts = ( " SCRIPT("s", POST) " ); " STABLE) GROUP_ONLY(G "scripts = [ \"s\" ];"), -EBADMSG, "manifest.modes", "no images" },
		{ SOFTWARE("s = { a = { images = ( " ELEMENT("x") " ); scripts = ( " SCRIPT("s", POST) " ); }; b = { images = ( " ELEMENT("x") " ); }; };")
		  GROUP_ONLY(G "scripts = [ \"s\" ];"), -EBADMSG, "manifest.modes", "differ" },
	};
	char text[8192];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_error_ struct agent_error *err = NULL;
		int r = parse_with(cases[i].text, false, true, &m, &err);

		if (r != cases[i].r || strcmp(agent_error_name(err), cases[i].error) != 0 || strstr(agent_error_message(err), cases[i].says) == NULL)
			fail_msg("case %zu: %d %s \"%s\", wanted %s \"%s\", for: %s", i, r, agent_error_name(err), agent_error_message(err), cases[i].error,
				 cases[i].says, cases[i].text);
		assert_null(m);
	}
	/* At most eight. */
	for (int more = 0; more < 2; more++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_error_ struct agent_error *err = NULL;

		snprintf(text, sizeof(text), SCRIPTS("%s%s", "scripts = [ \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\"%s ];"), eight, more ? "," SCRIPT("9", POST) : "",
			 more ? ", \"9\"" : "");
		assert_int_equal(parse_with(text, false, true, &m, &err), more ? -EMSGSIZE : 0);
		if (more)
			assert_error(&err, -EMSGSIZE, "manifest.images");
	}
}

static void without_permission_no_script_is_read(void **state)
{
	static const char *const texts[] = { ONE_SCRIPT(POST), ONE_SCRIPT("type = \"shellscript\";"), SCRIPTS("{ }", "") };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_error_ struct agent_error *err = NULL;

		assert_int_equal(parse(texts[i], true, &m, &err), -EOPNOTSUPP);
		assert_non_null(strstr(agent_error_message(err), "update.scripts"));
		assert_error(&err, -EOPNOTSUPP, "manifest.unsupported");
	}
}

/* Members that only stock SWUpdate reads: what it could not read is refused here as well, by name. */
static void members_for_the_peer_are_of_its_kind(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ SOFTWARE("description = 5; " STABLE) AGENT, "software: description must be a string" },
		{ SOFTWARE("description = { a = 1; }; " STABLE) AGENT, "software: description must be a string" },
		{ SOFTWARE("name = [ \"a\" ]; " STABLE) AGENT, "software: name must be a string" },
		{ SOFTWARE("reboot = \"now\"; " STABLE) AGENT, "software: reboot must be true or false" },
		{ SOFTWARE("bootloader_state_marker = 1; " STABLE) AGENT, "software: bootloader_state_marker must be true or false" },
		{ SOFTWARE("hardware-compatibility = \"1\"; " STABLE) AGENT, "software: hardware-compatibility must be a list of strings" },
		{ SOFTWARE("hardware-compatibility = [ 1 ]; " STABLE) AGENT, "software: hardware-compatibility must be a list of strings" },
		{ SOFTWARE("images = ( " ELEMENT_("/dev/a", "name = 1;", PROPERTIES) " );") AGENT, "image 0 (i): name must be a string" },
		{ SOFTWARE("images = ( " ELEMENT_("/dev/a", "version = 1L;", PROPERTIES) " );") AGENT, "image 0 (i): version must be a string" },
		{ SOFTWARE("images = ( { filename = \"i\"; installed-directly = 7; } );") AGENT, "image 0 (i): installed-directly must be true or false" },
		{ SOFTWARE("images = ( { filename = \"i\"; device = true; } );") AGENT, "image 0 (i): device must be a string" },
		{ SOFTWARE("stable = { copy-1 = { note = 1; }; };") AGENT, "software.stable.copy-1: note is not known" },
		{ SOFTWARE("stable = { copy-1 = { ref = \"#./copy-2\"; }; };") AGENT, "software.stable.copy-1: ref is not supported" },
		{ "{\"software\":{\"version\":\"1\",\"hardware-compatibility\":[\"1\",2.5]}}", "sw-description: hardware-compatibility is a fraction" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_error_ struct agent_error *err = NULL;

		if (parse(cases[i].text, false, &m, &err) == 0 || strstr(agent_error_message(err), cases[i].says) == NULL)
			fail_msg("case %zu: %s", i, err == NULL ? "taken" : agent_error_message(err));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_for_the_peer_are_of_its_kind),
		cmocka_unit_test(scripts_stand_in_their_order),
		cmocka_unit_test(bad_scripts_are_refused),
		cmocka_unit_test(without_permission_no_script_is_read),
		cmocka_unit_test(libconfig_and_json_say_the_same),
		cmocka_unit_test(a_ubi_volume_is_chosen_by_the_class_of_slots_in_both_syntaxes),
		cmocka_unit_test(the_agent_group_carries_limits),
		cmocka_unit_test(compressed_images_need_their_plain_size),
		cmocka_unit_test(what_is_not_the_profile_is_refused),
		cmocka_unit_test(a_nul_byte_is_refused),
		cmocka_unit_test(every_prefix_is_refused_or_whole),
		cmocka_unit_test(a_stock_bundle_needs_permission),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
