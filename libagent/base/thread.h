/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H
#include <pthread.h>
#include <signal.h>

/* pthread_create() of a thread that gets no signals: those belong to the threads of the caller. @attr may be NULL. 0, or a negative errno. */
static inline int thread_start(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*run)(void *userdata), void *userdata)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(ret_thread, attr, run, userdata);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

#endif
