/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For 26-guessing.sh and 35-exhaustion.sh: moves the clocks of a copy of a program that was given this library with patchelf. The program knows
 * nothing of it. Beside the program lies a file "clock" with two 64-bit numbers: the time since boot in seconds, which stands
 * still otherwise, so that what is measured does not depend on the speed of the machine; and seconds added to the time of day.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "config.h"

static const volatile int64_t *moved;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void find(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("clock"));
	char *slash;
	void *map;
	int fd;

	*(void **)&real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
	if (n <= 0 || real_clock_gettime == NULL)
		abort();
	path[n] = '\0';
	slash = strrchr(path, '/');
	memcpy(slash + 1, "clock", sizeof("clock"));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	map = fd < 0 ? MAP_FAILED : mmap(NULL, 2 * sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		abort();
	close(fd);
	moved = map;
}

int clock_gettime(clockid_t clock, struct timespec *ret);
__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *ret)
{
	int r = real_clock_gettime == NULL ? -1 : real_clock_gettime(clock, ret);

	if (r == 0 && moved != NULL && clock == CLOCK_BOOTTIME)
		*ret = (struct timespec){ .tv_sec = (time_t)moved[0] };
	if (r == 0 && moved != NULL && clock == CLOCK_REALTIME)
		ret->tv_sec += (time_t)moved[1];
	return r;
}

/* The C library does not go through clock_gettime() for it. */
__attribute__((visibility("default"))) time_t time(time_t *ret)
{
	struct timespec now = { 0 };

	if (clock_gettime(CLOCK_REALTIME, &now) < 0)
		return (time_t)-1;
	if (ret != NULL)
		*ret = now.tv_sec;
	return now.tv_sec;
}
