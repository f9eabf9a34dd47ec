/* SPDX-License-Identifier: Apache-2.0 */
/* Stock sw-descriptions: what SWUpdate would select, and what we refuse of it. */
#include "tests/unit/test.h"

#include <errno.h>

#include "base/file.h"
#include "update/hardware.h"
#include "update/manifest.h"
#include "update/slot.h"
#include "update/verify_private.h"

#define HASH "69c88787ac226ee5aa3fbcaed5f922fb9d6b02ff9785337e34a2fd8e86585116"
#define HW "hardware-compatibility = [ \"1\" ];"
#define SOFTWARE(body) "software = { version = \"1.0\"; " HW " " body " };"
#define IMAGE(name, more) "{ filename = \"" name "\"; sha256 = \"" HASH "\"; " more " }"
#define IMAGES(list) "images = ( " list " );"

static int parse_with(const char *text, const struct manifest_policy *policy, struct manifest **ret_manifest, struct agent_error **err)
{
	_cleanup_free_ char *copy = strdup(text);
	struct verified_buf buf = { .data = copy, .size = strlen(text), .signers = { .n = 1 } };

	return manifest_parse(&buf, policy, ret_manifest, err);
}

static int parse(const char *text, const char *product, const char *selection, struct manifest **ret_manifest, struct agent_error **err)
{
	return parse_with(text, &(struct manifest_policy){ .allow_compat = true, .product = product, .selection = selection }, ret_manifest, err);
}

static void the_first_place_that_has_the_key_counts(void **state)
{
	static const char text[] = SOFTWARE(
		IMAGES(IMAGE("plain", ""))
		"gw = { " IMAGES(IMAGE("of-board", "")) " stable = { m = { " IMAGES(IMAGE("of-board-and-mode", "")) " }; }; };"
		"stable = { m = { " IMAGES(IMAGE("of-mode", "")) " }; n = { " IMAGES(IMAGE("of-mode-n", "")) " }; };");
	static const struct {
		const char *product, *selection, *member;
	} cases[] = {
		{ "gw:1", "stable,m", "of-board-and-mode" }, { "gw:1", "stable,n", "of-mode-n" }, { "gw:1", "other,m", "of-board" },
		{ "gw:1", NULL, "of-board" },		     { "x:1", "stable,m", "of-mode" },	  { "x:1", NULL, "plain" },
		{ "1", NULL, "plain" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;

		assert_int_equal(parse(text, cases[i].product, cases[i].selection, &m, NULL), 0);
		assert_int_equal(m->n_images, 1);
		assert_string_equal(m->images[0].member, cases[i].member);
		/* What other selections hold may be in the archive, nothing else. */
		assert_true(manifest_skips(m, "plain"));
		assert_false(manifest_skips(m, "surprise"));
	}
}

static void links_are_followed_as_in_the_manual(void **state)
{
	/* The example of SWUpdate's manual, "software collections" and "links". */
	static const char text[] =
		"software = { version = { ref = \"#./commonversion\"; }; hardware-compatibility = [ \"rev10\" ]; commonversion = \"0.7-linked\";"
		"pc: { stable: { common: { images = { ref = \"#./../trythis\"; } };"
		" trythis: ( " IMAGE("rootfs1.ext4", "") ", { ref = \"#./another\"; } );"
		" another: ( " IMAGE("rootfs5.ext4", "properties = { slot-class = \"data\"; };") " );"
		" pdm3rev10: { " IMAGES(IMAGE("rootfs.ext3", "")) " };"
		" pdm3rev11 = { ref = \"#./pdm3rev10\"; }; pdm3rev40 = { ref = \"#./common\"; };"
		" absolute = { ref = \"#/software/pc/stable/pdm3rev10\"; }; }; }; };";
	_cleanup_(manifest_freep) struct manifest *m = NULL;

	assert_int_equal(parse(text, "pc:rev10", "stable,pdm3rev11", &m, NULL), 0);
	assert_string_equal(m->version, "0.7-linked");
	assert_int_equal(m->n_images, 1);
	assert_string_equal(m->images[0].member, "rootfs.ext3");
	m = manifest_free(m);
	assert_int_equal(parse(text, "pc:rev10", "stable,absolute", &m, NULL), 0);
	assert_string_equal(m->images[0].member, "rootfs.ext3");
	m = manifest_free(m);
	assert_int_equal(parse(text, "pc:rev10", "stable,pdm3rev40", &m, NULL), 0);
	assert_int_equal(m->n_images, 2);
	assert_string_equal(m->images[0].member, "rootfs1.ext4");
	assert_string_equal(m->images[1].member, "rootfs5.ext4");
}

static void links_that_lead_nowhere_or_in_circles_are_refused(void **state)
{
	static const char *const texts[] = {
		SOFTWARE("s = { m = { ref = \"#./m\"; }; };"),
		SOFTWARE("s = { m = { ref = \"#./n\"; }; n = { ref = \"#./m\"; }; };"),
		SOFTWARE("s = { m = { images = ( { ref = \"#./images\"; } ); }; };"),
		SOFTWARE("s = { m = { images = ( { ref = \"#./images\"; }, { ref = \"#./images\"; }, { ref = \"#./images\"; } ); }; };"),
		SOFTWARE("s = { m = { images = ( { ref = \"#./missing\"; } ); }; };"),
		SOFTWARE("s = { m = { ref = \"./n\"; }; };"),
		SOFTWARE("s = { m = { ref = 5; }; };"),
		SOFTWARE("s = { m = { ref = \"#./../../../../../m\"; }; };"),
		SOFTWARE("s = { m = { ref = \"#./a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v\"; }; };"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_error_ struct agent_error *err = NULL;

		if (parse(texts[i], "gw:1", "s,m", &m, &err) != -EBADMSG || strcmp(agent_error_name(err), "manifest.ref") != 0)
			fail_msg("case %zu: %s %s", i, agent_error_name(err), agent_error_message(err));
	}
}

static void patterns_of_hardware_are_anchored(void **state)
{
	static const struct {
		const char *entry, *product;
		bool fits;
	} cases[] = {
		{ "1.0", "gw:1.0", true },	   { "1.0", "gw:1.00", false },	  { "1.0", "gw:21.0", false },	{ "gw:1.0", "gw:1.0", true },
		{ "gw:1.0", "xx:1.0", false },	   { "#RE:1.0", "gw:1.0", true }, { "#RE:1.0", "gw:21x07", false }, { "#RE:1.0", "gw:1x0", true },
		{ "#RE:^1\\\\.[023]$", "gw:1.2", true }, { "#RE:^1\\\\.[023]$", "gw:1.1", false }, { "#RE:a|b", "gw:xb", false }, { "#RE:a|b", "gw:b", true },
		{ "#RE:(", "gw:(", false },	   { "#RE:[0-9]{2}", "gw:12", true }, { "#RE:(a{99}){99}", "gw:a", false },
		{ "#RE:2)|(.*", "gw:1", false }, { "#RE:^0|1$", "gw:1", true }, { "#RE:^0|1$", "gw:01", false },
		{ "#RE:a|ab", "gw:ab", true }, { "#RE:((a{9}){9}){9}", "gw:a", false }, { "#RE:a{32767}", "gw:a", false }, { "", "gw:", false },
		/* These take gigabytes of regcomp(), or hours of regexec(). */
		{ "#RE:((((((((((((((((((((((((((((((((a+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+", "gw:a", false },
		{ "#RE:((((((((((((((((a+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+", "gw:a", false }, { "#RE:((((((((a{2}){2}){2}){2}){2}){2}){2}){2}){2}){2}", "gw:a", false },
		{ "#RE:((a?){99}){99}", "gw:a", false }, { "#RE:(.*)(.*)(.*)(.*)\\\\1\\\\2\\\\3\\\\4", "gw:aa", false }, { "#RE:a{1,99}{1,99}", "gw:a", false },
		/* And these do not. */
		{ "#RE:(a+)+", "gw:aaa", true }, { "#RE:[[:digit:]]+([.][0-9]{1,3}){1,3}(-rc[]0-9]+)?", "gw:1.22.3-rc4", true }, { "#RE:[^]]+", "gw:a", true },
		{ "#RE:\\\\(a\\\\)", "gw:(a)", true }, { "#RE:((((((((a*)*)*)*)?)?)?)*)*", "gw:aaa", true }, { "#RE:[", "gw:[", false }, { "#RE:a)", "gw:a)", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		char text[512];

		snprintf(text, sizeof(text), "software = { version = \"1\"; hardware-compatibility = [ \"%s\" ]; " IMAGES(IMAGE("i", "")) " };", cases[i].entry);
		if (parse(text, cases[i].product, NULL, &m, NULL) != 0)
			assert_string_equal(cases[i].entry, "");
		else if (manifest_fits(m, cases[i].product) != cases[i].fits)
			fail_msg("\"%s\" and %s: not %d", cases[i].entry, cases[i].product, cases[i].fits);
	}
}

static void patterns_that_are_not_taken_say_why(void **state)
{
	static const struct {
		const char *entry, *why;
	} cases[] = {
		{ "1.0", NULL }, { "#RE:^1[.](0|1+)$", NULL }, { "#RE:", NULL }, { "#RE:[]^-]", NULL }, { "#RE:[[.-.]-[=z=][:upper:]]{3,}", NULL }, { "#RE:^|$|()", NULL },
		{ "#RE:a**", "another one" }, { "#RE:(*a)", "follows nothing" }, { "#RE:^*", "follows nothing" }, { "#RE:((a)", "not closed" }, { "#RE:a)", "not opened" },
		{ "#RE:(a)\\1", "back" }, { "#RE:\\ba", "GNU" }, { "#RE:a\\", "backslash" }, { "#RE:[a", "brackets" }, { "#RE:[z-a]", "brackets" }, { "#RE:[[:nothing:]]", "brackets" },
		{ "#RE:[[.ab.]]", "brackets" }, { "#RE:a{0}", "bound" }, { "#RE:a{3,2}", "bound" }, { "#RE:a{,}", "bound" }, { "#RE:a{x}", "bound" }, { "#RE:a{256}", "255" },
		{ "#RE:(a{99}){99}", "too long" }, { "#RE:((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))))", "too deep" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *why = hardware_fault(cases[i].entry);

		if (cases[i].why == NULL ? why != NULL : why == NULL || strstr(why, cases[i].why) == NULL)
			fail_msg("\"%s\": %s", cases[i].entry, why == NULL ? "taken" : why);
	}
	assert_true(hardware_fits("#RE:[[.-.]-[=z=]]{3,}", "gw:az-"));
	assert_true(hardware_fits("#RE:\\w\\W\\s\\S", "gw:a- b"));
	assert_false(hardware_fits("#RE:\\w\\W\\s\\S", "gw:-a b"));
	assert_true(hardware_fits("#RE:^gw:(1|2)$", "gw:2"));
	assert_false(hardware_fits("#RE:1^", "gw:1"));
	assert_true(hardware_fits("#RE:(^1|2)$|x", "gw:1"));
}

static void elements_say_what_swupdate_understands(void **state)
{
	static const char text[] = SOFTWARE(
		"description = \"x\"; bootloader_transaction_marker = true; reboot = false; update-type = \"normal\"; anything = { else = 1; };"
		IMAGES(IMAGE("a", "device = \"/dev/null\"; type = \"raw\"; installed-directly = True; offset = \"4K\"; size = 100L; data = \"x\"; "
			 "name = \"any thing\"; version = \"also / this\"; unknown = 7;") ", "
		       IMAGE("b", "compressed = \"zlib\"; offset = \"1M\"; encrypted = \"aes-cbc\"; ivt = \"000102030405060708090a0b0c0d0e0f\"; name = \"app\"; version = \"2.0\"; "
			     "install-if-higher = true; properties = { decompressed-size = \"5000\"; subtype = \"k\"; };"))
		"bootenv = ( { name = \"bootpart\"; value = \"2\"; }, { name = \"gone\"; value = \"\"; }, { name = \"also.gone\"; } );");
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_error_ struct agent_error *err = NULL;

	if (parse(text, "gw:1", NULL, &m, &err) != 0)
		fail_msg("%s", agent_error_message(err));
	assert_int_equal(m->n_images, 2);
	assert_int_equal(m->images[0].offset, 4096);
	assert_int_equal(m->images[0].plain_bytes, 100);
	assert_int_equal(m->images[1].offset, 1024 * 1024);
	assert_string_equal(m->images[1].filter, "zlib");
	assert_string_equal(m->images[1].cipher, "aes-cbc");
	assert_true(m->images[1].has_iv && m->images[1].iv[15] == 15);
	assert_int_equal(m->images[1].plain_bytes, 5000);
	assert_true(m->images[1].if_higher && !m->images[1].if_different);
	assert_int_equal(m->n_env, 3);
	assert_string_equal(m->env[0].name, "bootpart");
	assert_string_equal(m->env[0].value, "2");
	assert_string_equal(m->env[2].name, "also.gone");
	assert_string_equal(m->env[2].value, "");
}

static void numbers_are_read_as_swupdate_reads_them(void **state)
{
	static const struct {
		const char *text;
		uint64_t offset;
	} cases[] = {
		{ "offset = \"0x10000\";", 65536 }, { "offset = \"010000\";", 4096 }, { "offset = \"0x10K\";", 16384 }, { "offset = \"64KiB\";", 65536 },
		{ "offset = \"1MiB\";", 1048576 }, { "offset = 0x10000;", 65536 }, { "offset = 4294967296;", UINT64_C(4294967296) },
		{ "offset = 0x80000000;", UINT64_C(2147483648) }, { "offset = 3000000000L;", UINT64_C(3000000000) }, { "offset = 2147483647;", 2147483647 },
		{ "unknown = [ 1, -5000000000, 0xffffffff ]; offset = 2;", 2 },
		{ "name = \"x 4294967296\"; offset = 1; /* 99999999999999999999 */", 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_error_ struct agent_error *err = NULL;
		char text[512];

		snprintf(text, sizeof(text), SOFTWARE(IMAGES(IMAGE("i", "%s"))), cases[i].text);
		if (parse(text, "gw:1", NULL, &m, &err) != 0)
			fail_msg("%s: %s", cases[i].text, agent_error_message(err));
		assert_int_equal(m->images[0].offset, cases[i].offset);
	}
}

static void comments_are_no_text(void **state)
{
	static const char body[] = "\"software\":{\"version\":\"1 // no # comment /* here\",\"hardware-compatibility\":[\"1\"], // \"\n\"images\":[{\"filename\":\"i\",\"sha256\":\"" HASH "\"}]}}";
	static const char *const before[] = { "{", "/* a *//* b */ {", "// [[[[[[[[[[[[[[[[[\n{ /* \" */", " \n# @include \"x\"\n{" };
	char text[1024];

	for (size_t i = 0; i < ARRAY_SIZE(before); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_error_ struct agent_error *err = NULL;

		snprintf(text, sizeof(text), "%s%s", before[i], body);
		if (parse(text, "gw:1", NULL, &m, &err) != 0)
			fail_msg("%s: %s", text, agent_error_message(err));
		assert_string_equal(m->version, "1____no___comment____here");
	}
}

static void a_version_that_is_no_name_becomes_one(void **state)
{
	static const struct {
		const char *version, *name;
	} cases[] = { { "1.0", "1.0" }, { "1.0 beta", "1.0_beta" }, { "1.0~beta", "1.0_beta" } };
	char first[MANIFEST_TEXT_MAX + 1] = "";

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		char text[512];

		snprintf(text, sizeof(text), "software = { version = \"%s\"; " HW IMAGES(IMAGE("i", "")) " };", cases[i].version);
		assert_int_equal(parse(text, "gw:1", NULL, &m, NULL), 0);
		assert_string_equal(m->version, cases[i].name);
		assert_true(manifest_is_name(m->release_id));
		assert_int_equal(strcmp(m->release_id, m->version) == 0, i == 0);
		assert_string_not_equal(m->release_id, first);
		strcpy(first, m->release_id);
	}
}

/* What is wrong with the only selection for the slot is the answer, not that none was found. */
static void a_selection_that_is_wrong_is_named(void **state)
{
	struct temp_dir dir;
	struct slot_table table = { 0 };
	const struct manifest_policy policy = { .allow_compat = true, .product = "gw:1", .slots = &table, .target = "b" };
	static const struct {
		const char *more, *device, *error, *says;
	} cases[] = {
		{ "size = 0;", "r-b", "manifest.value", "selection s,two: image 0 (r): size" }, { "hook = \"f\";", "r-b", "manifest.unsupported", "hook" },
		{ "", "r-a", "update.device", "is slot a, which runs" }, { "", "elsewhere", "manifest.selection", "update.selections" },
	};
	char paths[2][96], text[1024];

	temp_dir_make(&dir);
	for (int i = 0; i < 2; i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/r-%c", dir.path, "ab"[i]);
		assert_int_equal(file_replace_at(AT_FDCWD, paths[i], 0600, "x", 1, NULL), 0);
		assert_int_equal(slot_table_add(&table, "rootfs", i == 0 ? "a" : "b", paths[i], NULL), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_error_ struct agent_error *err = NULL;

		snprintf(text, sizeof(text), SOFTWARE("s = { one = { " IMAGES(IMAGE("r", "device = \"%s\";")) " }; two = { " IMAGES(IMAGE("r", "device = \"%s/%s\"; %s")) " }; };"),
			 paths[0], dir.path, cases[i].device, cases[i].more);
		assert_true(parse_with(text, &policy, &m, &err) < 0);
		assert_string_equal(agent_error_name(err), cases[i].error);
		if (strstr(agent_error_message(err), cases[i].says) == NULL)
			fail_msg("%s", agent_error_message(err));
	}
	slot_table_clear(&table);
	temp_dir_remove(&dir);
}

/* One folder and one file as slots of b. What is for neither is said by its name, unless there is one place for one image. */
static void an_element_for_no_slot_is_named(void **state)
{
	static const struct {
		const char *body, *selection, *error, *says;
	} cases[] = {
		{ "files = ( " IMAGE("f", "path = \"/etc/passwd\";") " );", NULL, "update.device", "file 0 (f): path /etc/passwd" },
		{ IMAGES(IMAGE("f", "type = \"rawfile\"; path = \"/etc/passwd\";")), NULL, "update.device", "image 0 (f): path /etc/passwd" },
		{ IMAGES(IMAGE("r", "device = \"/dev/vda9\";")), NULL, "update.device", "image 0 (r): device /dev/vda9 is no slot" },
		{ IMAGES(IMAGE("r", "properties = { slot-class = \"rootfs\"; };") ", " IMAGE("s", "device = \"/dev/vda9\";")), NULL, "update.device", "image 1 (s): device /dev/vda9" },
		{ IMAGES(IMAGE("r", "type = \"uboot\";")), NULL, "update.device", "image 0 (r): it names no device" },
		{ "s = { m = { " IMAGES(IMAGE("r", "device = \"/dev/vda9\";")) " }; };", "s,m", "update.device", "image 0 (r): device /dev/vda9" },
		{ IMAGES(IMAGE("r", "device = \"/dev/vda9\"; properties = { slot-class = \"rootfs\"; };")), NULL, NULL, "rootfs" },
		/* In the section of images as in that of files, by its path as by its class; the copy is the one whose folder it is. */
		{ IMAGES(IMAGE("t", "type = \"archive\"; path = \"/x/y\"; properties = { slot-class = \"app\"; };")), NULL, NULL, "app" },
		{ IMAGES(IMAGE("t", "type = \"tar\"; path = \"@/app-b/y\";")), NULL, NULL, "app" },
		{ "s = { one = { files = ( " IMAGE("t", "path = \"@/app-a/y\";") " ); }; two = { files = ( " IMAGE("t", "path = \"@/app-b/y\";") " ); }; };", NULL, NULL, "app" },
	};
	struct slot_table table = { 0 };
	const struct manifest_policy policy = { .allow_compat = true, .product = "gw:1", .slots = &table, .target = "b" };
	struct temp_dir dir;
	char path[96], text[1024];

	temp_dir_make(&dir);
	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s-%c", dir.path, i < 2 ? "rootfs" : "app", "ab"[i % 2]);
		assert_int_equal(slot_table_add(&table, i < 2 ? "rootfs" : "app", i % 2 == 0 ? "a" : "b", path, NULL), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_error_ struct agent_error *err = NULL;
		struct manifest_policy this = policy;
		char body[768] = "";

		this.selection = cases[i].selection;
		for (const char *p = cases[i].body; *p != '\0'; p++)
			snprintf(body + strlen(body), sizeof(body) - strlen(body), "%.*s", *p == '@' ? 64 : 1, *p == '@' ? dir.path : p);
		snprintf(text, sizeof(text), SOFTWARE("%s"), body);
		if (parse_with(text, &this, &m, &err) < 0 && (cases[i].error == NULL || strcmp(agent_error_name(err), cases[i].error) != 0 || strstr(agent_error_message(err), cases[i].says) == NULL))
			fail_msg("case %zu: %s %s", i, agent_error_name(err), agent_error_message(err));
		if (m != NULL && (cases[i].error != NULL || strcmp(m->images[0].slot_class, cases[i].says) != 0))
			fail_msg("case %zu: taken, for class \"%s\"", i, m->images[0].slot_class);
		if (m != NULL && m->images[0].is_file)
			assert_int_equal(m->images[0].path[strlen(m->images[0].path) - 1], 'y');
	}
	slot_table_clear(&table);
	temp_dir_remove(&dir);
}

static void what_runs_code_or_has_no_meaning_is_refused(void **state)
{
#define ONE(more) SOFTWARE(IMAGES(IMAGE("i", more)))
	static const struct {
		const char *text;
		int r;
		const char *error, *says;
	} cases[] = {
		{ SOFTWARE("embedded-script = \"x\"; " IMAGES(IMAGE("i", ""))), -EOPNOTSUPP, "manifest.unsupported", "embedded-script" },
		{ SOFTWARE("s = { embedded-script = \"x\"; }; " IMAGES(IMAGE("i", ""))), -EOPNOTSUPP, "manifest.unsupported", "embedded-script" },
		{ ONE("hook = \"f\";"), -EOPNOTSUPP, "manifest.unsupported", "image 0 (i): hook" },
		{ ONE("preinstall = \"f\";"), -EOPNOTSUPP, "manifest.unsupported", "preinstall" },
		{ ONE("aes-key = \"00\";"), -EOPNOTSUPP, "manifest.unsupported", "aes-key" },
		{ ONE("volume = \"v\";"), -EBADMSG, "manifest.missing", "size is missing" },
		{ ONE("volume = \"v\"; compressed = \"zlib\"; size = 7;"), -EBADMSG, "manifest.missing", "properties.decompressed-size" },
		{ ONE("type = \"ubivol\"; encrypted = true; size = 16;"), -EBADMSG, "manifest.missing", "properties.decrypted-size" },
		{ ONE("volume = \"v\"; size = 7; offset = 4096;"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("volume = \"v\"; type = \"raw\";"), -EBADMSG, "manifest.value", "ubivol only, not raw" },
		{ ONE("volume = 7;"), -EBADMSG, "manifest.type", "volume" },
		{ ONE("volume = \"\";"), -EBADMSG, "manifest.value", "volume" },
		{ ONE("volume = \"v\"; size = 7; properties = { replaces = \"w\"; };"), -EOPNOTSUPP, "manifest.unsupported", "replaces" },
		{ ONE("volume = \"v\"; size = 7; properties = { auto-resize = \"true\"; };"), -EOPNOTSUPP, "manifest.unsupported", "auto-resize" },
		{ SOFTWARE("files = ( " IMAGE("f", "type = \"ubivol\"; path = \"/x\"; properties = { slot-class = \"data\"; };") " );"), -EBADMSG, "manifest.value", "not for files" },
		{ SOFTWARE(IMAGES(IMAGE("i", "volume = \"v\"; size = 7;") ", " IMAGE("j", "type = \"ubivol\"; size = 7;"))), -EBADMSG, "manifest.duplicate", "i and j" },
		{ ONE("mtdname = \"v\";"), -EOPNOTSUPP, "manifest.unsupported", "mtdname" },
		{ SOFTWARE(IMAGES(IMAGE("i", "")) "scripts = ( " IMAGE("s.lua", "") " );"), -EOPNOTSUPP, "manifest.unsupported", "s.lua" },
		{ SOFTWARE(IMAGES(IMAGE("i", "")) "scripts = ( " IMAGE("s.sh", "type = \"shellscript\";") " );"), -EOPNOTSUPP, "manifest.unsupported", "s.sh" },
		{ SOFTWARE(IMAGES(IMAGE("i", "")) "partitions = ( { name = \"x\"; } );"), -EOPNOTSUPP, "manifest.unsupported", "partitions, element 0" },
		{ SOFTWARE(IMAGES(IMAGE("i", "")) "vars = ( { name = \"x\"; value = \"1\"; } );"), -EOPNOTSUPP, "manifest.unsupported", "vars, element 0" },
		{ SOFTWARE(IMAGES(IMAGE("i", "")) "scripts = ( " IMAGE("s.lua", "type = \"lua\";") " );"), -EOPNOTSUPP, "manifest.unsupported", "lua are never run" },
		{ ONE("type = \"docker_containercreate\";"), -EOPNOTSUPP, "manifest.unsupported", "image 0 (i): images of type docker_containercreate" },
		{ ONE("compressed = \"xz\";"), -EOPNOTSUPP, "manifest.unsupported", "xz" },
		{ ONE("type = \"rawfile\"; path = \"/x\"; offset = \"4K\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("encrypted = \"aes-gcm\";"), -EOPNOTSUPP, "manifest.unsupported", "aes-gcm" },
		{ ONE("offset = \"4T\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("offset = \"4KK\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("offset = \"K\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("offset = \"\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("offset = \"0x\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("offset = \"08\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("offset = \" 4\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("offset = 9223372036854775808;"), -EBADMSG, "manifest.syntax", "64 bits" },
		{ ONE("offset = \"-4\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("offset = \"18446744073709551616\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("offset = \"17179869184G\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("offset = \"9007199254740993K\";"), -EBADMSG, "manifest.value", "offset" },
		{ ONE("install-if-different = true;"), -EBADMSG, "manifest.missing", "name" },
		{ ONE("install-if-different = 7;"), -EBADMSG, "manifest.type", "install-if-different" },
		{ ONE("size = 0;"), -EBADMSG, "manifest.value", "size" },
		{ SOFTWARE("images = ( { filename = \"i\"; } );"), -EBADMSG, "manifest.missing", "image 0 (i) has no sha256" },
		{ SOFTWARE("images = ( { filename = \"a/b\"; sha256 = \"" HASH "\"; } );"), -EBADMSG, "manifest.value", "filename" },
		{ SOFTWARE("images = ( 5 );"), -EBADMSG, "manifest.type", "element 0" },
		{ SOFTWARE("images = { a = 1; };"), -EBADMSG, "manifest.type", "images must be a list" },
		{ SOFTWARE(""), -EBADMSG, "manifest.selection", "update.selections" },
		{ SOFTWARE(IMAGES(IMAGE("i", "") ", " IMAGE("j", ""))), -EBADMSG, "manifest.duplicate", "i and j" },
		{ SOFTWARE(IMAGES(IMAGE("i", "installed-directly = true;") ", " IMAGE("i", "offset = 4096;"))), -EBADMSG, "manifest.duplicate", "member i is for two elements" },
		{ SOFTWARE(IMAGES(IMAGE("i", "") ", " IMAGE("i", "offset = 4096; installed-directly = true;"))), -EBADMSG, "manifest.duplicate", "installed-directly" },
		{ SOFTWARE(IMAGES(IMAGE("sw-description.sig", ""))), -EBADMSG, "manifest.duplicate", "named twice" },
		{ SOFTWARE(IMAGES(IMAGE("t.tar", "type = \"archive\"; properties = { slot-class = \"data\"; };"))), -EBADMSG, "manifest.missing", "image 0 (t.tar) has no path" },
		{ SOFTWARE("files = ( " IMAGE("f", "path = \"../x\"; properties = { slot-class = \"data\"; };") " );"), -EBADMSG, "manifest.value", ".." },
		{ SOFTWARE("files = ( " IMAGE("f", "properties = { slot-class = \"data\"; };") " );"), -EBADMSG, "manifest.missing", "path" },
		{ SOFTWARE(IMAGES(IMAGE("i", "")) "bootenv = ( { value = \"2\"; } );"), -EBADMSG, "manifest.missing", "bootenv 0" },
		{ SOFTWARE(IMAGES(IMAGE("i", "")) "bootenv = ( { name = \"a=b\"; } );"), -EBADMSG, "manifest.value", "name" },
		{ SOFTWARE(IMAGES(IMAGE("i", "")) "bootenv = ( { name = \"a\"; value = \"x\\n\"; } );"), -EBADMSG, "manifest.value", "control" },
		{ "software = { " HW IMAGES(IMAGE("i", "")) " };", -EBADMSG, "manifest.missing", "version" },
		{ "software = { version = \"\"; " HW IMAGES(IMAGE("i", "")) " };", -EBADMSG, "manifest.value", "version" },
		{ "software = { version = \"1\"; " IMAGES(IMAGE("i", "")) " };", -EBADMSG, "manifest.missing", "hardware-compatibility" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_error_ struct agent_error *err = NULL;
		int r = parse(cases[i].text, "gw:1", NULL, &m, &err);

		if (r != cases[i].r || strcmp(agent_error_name(err), cases[i].error) != 0 || strstr(agent_error_message(err), cases[i].says) == NULL)
			fail_msg("case %zu: %d %s \"%s\", wanted %s, for: %s", i, r, agent_error_name(err), agent_error_message(err), cases[i].error, cases[i].text);
		assert_null(m);
	}
}

static void devices_choose_the_selection_and_never_the_running_slot(void **state)
{
	struct temp_dir dir;
	struct slot_table table = { 0 };
	struct manifest_policy policy = { .allow_compat = true, .product = "gw:1", .slots = &table, .target = "b" };
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	char paths[4][96], link[96], text[2048];
	static const char *const names[] = { "r-a", "r-b", "d-a", "d-b" };

	temp_dir_make(&dir);
	for (int i = 0; i < 4; i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", dir.path, names[i]);
		assert_int_equal(file_replace_at(AT_FDCWD, paths[i], 0600, "x", 1, NULL), 0);
		assert_int_equal(slot_table_add(&table, i < 2 ? "rootfs" : "data", i % 2 == 0 ? "a" : "b", paths[i], NULL), 0);
	}
	snprintf(link, sizeof(link), "%s/by-label", dir.path);
	assert_int_equal(symlink(paths[1], link), 0);

	/* Through a link as well, each class in its place. */
	snprintf(text, sizeof(text),
		 SOFTWARE("s = { one = { " IMAGES(IMAGE("r", "device = \"%s\";") ", " IMAGE("d", "device = \"%s\";")) " }; "
			  "two = { " IMAGES(IMAGE("r", "device = \"%s\";") ", " IMAGE("d", "device = \"%s\";")) " }; };"), paths[0], paths[2], link, paths[3]);
	assert_int_equal(parse_with(text, &policy, &m, NULL), 0);
	assert_int_equal(m->n_images, 2);
	assert_string_equal(m->images[0].slot_class, "rootfs");
	assert_string_equal(m->images[1].slot_class, "data");
	m = manifest_free(m);
	policy.target = "a";
	assert_int_equal(parse_with(text, &policy, &m, NULL), 0);
	m = manifest_free(m);
	/* The wrong one by order of the configuration: refused, not written. */
	policy.selection = "s,two";
	assert_int_equal(parse_with(text, &policy, &m, &err), -EPERM);
	assert_error(&err, -EPERM, "update.device");
	policy.selection = "s";
	assert_int_equal(parse_with(text, &policy, &m, &err), -EINVAL);
	assert_error(&err, -EINVAL, "manifest.selection");
	policy.selection = NULL;
	/* slot-class and device must agree. */
	snprintf(text, sizeof(text), SOFTWARE(IMAGES(IMAGE("r", "device = \"%s\"; properties = { slot-class = \"data\"; };"))), paths[0]);
	assert_int_equal(parse_with(text, &policy, &m, &err), -EPERM);
	assert_error(&err, -EPERM, "update.device");
	/* Two that fit leave the choice to the operator. */
	snprintf(text, sizeof(text), SOFTWARE("s = { one = { " IMAGES(IMAGE("r", "device = \"%s\";")) " }; two = { " IMAGES(IMAGE("q", "device = \"%s\";")) " }; };"),
		 paths[0], paths[0]);
	assert_int_equal(parse_with(text, &policy, &m, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "manifest.selection");
	policy.selection = "s,two";
	assert_int_equal(parse_with(text, &policy, &m, NULL), 0);
	assert_string_equal(m->images[0].member, "q");
	slot_table_clear(&table);
	temp_dir_remove(&dir);
}

static void libconfig_and_json_say_the_same(void **state)
{
	static const char json[] =
		"{\"software\":{\"version\":\"1.0\",\"hardware-compatibility\":[\"1\"],\"stable\":{\"copy-1\":{\"images\":[{\"filename\":\"i\",\"sha256\":\"" HASH
		"\",\"offset\":\"1K\",\"compressed\":true,\"properties\":{\"decompressed-size\":\"7\"}}],\"bootenv\":[{\"name\":\"a\",\"value\":\"b\"}]}}}}";
	_cleanup_(manifest_freep) struct manifest *m = NULL, *n = NULL;

	assert_int_equal(parse(json, "gw:1", "stable,copy-1", &m, NULL), 0);
	assert_int_equal(parse(SOFTWARE("stable: { copy-1: { images: ( { filename: \"i\"; sha256: \"" HASH "\"; offset: 1024; compressed: \"zlib\"; "
					"properties: { decompressed-size: \"7\"; }; } ); bootenv: ( { name: \"a\"; value: \"b\"; } ); }; };"),
			       "gw:1", "stable,copy-1", &n, NULL), 0);
	assert_memory_equal(m->images, n->images, sizeof(m->images));
	assert_memory_equal(m->env, n->env, sizeof(m->env));
}

static void a_bare_signature_is_for_stock_bundles_only(void **state)
{
	char text[] = SOFTWARE(IMAGES(IMAGE("i", ""))) "agent = { profile = \"1\"; };";
	struct verified_buf buf = { .data = text, .size = strlen(text), .signers = { .n = 1 }, .is_raw = true };
	_cleanup_error_ struct agent_error *err = NULL;
	struct manifest *m = NULL;

	assert_int_equal(manifest_parse(&buf, &(struct manifest_policy){ .allow_compat = true, .product = "gw:1" }, &m, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.signature");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_place_that_has_the_key_counts),
		cmocka_unit_test(links_are_followed_as_in_the_manual),
		cmocka_unit_test(links_that_lead_nowhere_or_in_circles_are_refused),
		cmocka_unit_test(patterns_of_hardware_are_anchored),
		cmocka_unit_test(patterns_that_are_not_taken_say_why),
		cmocka_unit_test(elements_say_what_swupdate_understands),
		cmocka_unit_test(numbers_are_read_as_swupdate_reads_them),
		cmocka_unit_test(comments_are_no_text),
		cmocka_unit_test(a_version_that_is_no_name_becomes_one),
		cmocka_unit_test(a_selection_that_is_wrong_is_named),
		cmocka_unit_test(an_element_for_no_slot_is_named),
		cmocka_unit_test(what_runs_code_or_has_no_meaning_is_refused),
		cmocka_unit_test(devices_choose_the_selection_and_never_the_running_slot),
		cmocka_unit_test(libconfig_and_json_say_the_same),
		cmocka_unit_test(a_bare_signature_is_for_stock_bundles_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
