/* SPDX-License-Identifier: MIT */
#include "core/base/process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* The first bytes of a small file as text; false if there are none. */
static int slurp(const char *path, char *out, size_t cap)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(out, 1, cap - 1, f) : 0;

    if (f) fclose(f);
    out[n] = '\0';
    return n > 0;
}

static uint64_t count_entries(const char *path)
{
    DIR *d = opendir(path);
    uint64_t n = 0;

    if (!d) return 0;
    for (const struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* When the machine started, in seconds since 1970. */
static double boot_seconds(void)
{
    char text[65536];
    const char *at =
        slurp("/proc/stat", text, sizeof text) ? strstr(text, "btime ") : NULL;

    return at ? strtod(at + strlen("btime "), NULL) : 0;
}

/* proc(5): the fields behind the command's name, which may hold anything. */
static void read_stat(struct process_figures *f)
{
    enum { THREADS = 20, START = 22, VSIZE, RSS }; /* as numbered there */
    double ticks = (double)sysconf(_SC_CLK_TCK);
    char text[2048], *at;

    if (!slurp("/proc/self/stat", text, sizeof text)) return;
    at = strrchr(text, ')');
    for (int field = 3; at && field <= RSS; field++) {
        double v;

        at = strchr(at + 1, ' ');
        if (!at) return;
        v = strtod(at + 1, NULL);
        if (field == THREADS) f->threads = (uint64_t)v;
        if (field == START) f->start_seconds = boot_seconds() + v / ticks;
        if (field == VSIZE) f->virtual_bytes = (uint64_t)v;
        if (field == RSS)
            f->resident_bytes = (uint64_t)v * (uint64_t)sysconf(_SC_PAGESIZE);
    }
}

void process_figures(struct process_figures *out)
{
    struct rlimit limit;
    struct timespec cpu;

    memset(out, 0, sizeof *out);
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        out->cpu_seconds = (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9;
    read_stat(out);
    out->open_fds = count_entries("/proc/self/fd");
    if (out->open_fds > 0) out->open_fds--; /* the one that looked */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) out->max_fds = limit.rlim_cur;
}

void process_allow_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}
