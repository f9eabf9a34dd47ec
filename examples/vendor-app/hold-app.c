/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine that must not stop in the middle of its work holds the restart into an update back, for as long as update.reboot_hold_s of
 * agentd.conf lets it: "hold 120" when a piece is begun, and again before the two minutes are over; "hold 0" when it is done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <agent/client.h>

static int run(struct agent_client *client, const char *seconds, struct agent_error **err)
{
	struct agent_client_reboot reboot;
	int r = seconds == NULL ? agent_client_get_reboot(client, &reboot, err) : agent_client_hold_reboot(client, strtoull(seconds, NULL, 10), &reboot, err);

	if (r < 0)
		return r;
	if (reboot.waits_for[0] == '\0')
		printf("nothing waits for a restart; ");
	else
		printf("the restart into release %s waits for: %s, %llu s; ", reboot.release_id, reboot.waits_for, (unsigned long long)reboot.in_s);
	printf("it can be held back for %llu s\n", (unsigned long long)reboot.hold_left_s);
	return 0;
}

int main(int argc, char **argv)
{
	struct agent_context *ctx = NULL;
	struct agent_client *client = NULL;
	struct agent_error *err = NULL;
	const char *socket = NULL;
	int r;

	if (argc > 2 && strcmp(argv[1], "-s") == 0) {
		socket = argv[2];
		argv += 2, argc -= 2;
	}
	if (!(argc == 2 && strcmp(argv[1], "look") == 0) && !(argc == 3 && strcmp(argv[1], "hold") == 0)) {
		fprintf(stderr, "usage: hold-app [-s SOCKET] look\n       hold-app [-s SOCKET] hold SECONDS\n");
		return 2;
	}
	r = agent_context_new(&ctx);
	if (r >= 0)
		r = agent_client_open(ctx, socket, &client, &err);
	if (r >= 0)
		r = run(client, argc == 3 ? argv[2] : NULL, &err);
	if (r < 0)
		fprintf(stderr, "hold-app: %s (%s)\n", agent_error_message(err), agent_error_name(err));
	agent_error_free(err);
	agent_client_unref(client);
	agent_context_unref(ctx);
	return r < 0 ? 1 : 0;
}
