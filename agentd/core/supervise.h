/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_SUPERVISE_H
#define CORE_SUPERVISE_H
/*
 * agentd --supervise: a small service manager for systems whose PID 1 is not systemd. Makes the sockets, starts the programs
 * as their users with the same descriptors systemd would hand over, restarts what ends. Stays in the foreground. Returns
 * the exit code of the process.
 */
int supervise_main(int argc, char **argv);

#endif
