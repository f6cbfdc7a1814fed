/* SPDX-License-Identifier: MIT */
/*
 * sim: many seeds, one seed again, scenarios, mutations.
 *
 * Workers are processes of their own, so that a check that fails inside the code under
 * test (CHECK, a sanitizer) costs its seed and no more.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sim.h"

enum { JOBS_MAX = 64, FAILURES_SHOWN = 5 };

struct options {
    uint64_t first, seeds, steps;
    uint32_t nodes;
    unsigned jobs;
    int trace;
    bool one, update, scenarios, verbose;
    const char *match, *mutation, *dir, *self;
};

struct worker { /* shared with it */
    uint64_t seed, passed, steps;
    bool failed;
    char text[400];
    struct sim_stats sum;
};

static char root[64];

/* --- scratch directory ----------------------------------------------------------------
 */

static void make_root(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(root, sizeof root, "%.40s/rqsim.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm"
             : tmp                         ? tmp
                                           : "/tmp");
    if (mkdtemp(root) == NULL) {
        perror(root);
        exit(2);
    }
}

static void remove_root(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", root);
    if (system(command) != 0) fprintf(stderr, "cannot remove %s\n", root);
}

/* --- seeds
 * ------------------------------------------------------------------------------ */

static void add_stats(struct sim_stats *to, const struct sim_stats *s)
{
    const uint64_t *from = (const uint64_t *)s;
    uint64_t *sum = (uint64_t *)to;

    for (size_t i = 0; i < sizeof *s / sizeof *from; i++) sum[i] += from[i];
}

static void print_stats(const struct sim_stats *s)
{
    printf("%" PRIu64 " steps, %" PRIu64 " messages, %" PRIu64 " elections, %" PRIu64
           " entries, %" PRIu64 " writes acknowledged, %" PRIu64 " unknown, %" PRIu64
           " reads, %" PRIu64 " snapshots taken, %" PRIu64 " installed, %" PRIu64
           " membership changes, %" PRIu64 " transfers, %" PRIu64
           " power losses, %" PRIu64 " of them in the middle of an operation, %" PRIu64
           " kills and stops, %" PRIu64 " disk errors, %" PRIu64 " starts\n",
           s->steps, s->messages, s->elections, s->commits, s->writes, s->unknown,
           s->reads, s->taken, s->installs, s->changes, s->transfers, s->crashes,
           s->disk_deaths, s->kills, s->disk_errors, s->restarts);
}

static bool run_seed(const struct options *o, uint64_t seed, struct worker *me)
{
    struct sim *w = malloc(sizeof *w);
    bool ok;

    CHECK(w != NULL);
    ok = chaos_run(w, root, seed, o->nodes, o->steps, o->trace);
    add_stats(&me->sum, &w->stats);
    if (!ok) snprintf(me->text, sizeof me->text, "%s", w->violation);
    if (o->one && ok)
        printf("seed %" PRIu64 ": fine, digest %016" PRIx64 "\n", seed, w->digest);
    sim_free(w);
    free(w);
    return ok;
}

static void work(const struct options *o, struct worker *me, uint64_t step)
{
    for (; me->seed < o->first + o->seeds; me->seed += step) {
        if (!run_seed(o, me->seed, me)) {
            me->failed = true;
            _exit(1);
        }
        me->passed++;
    }
    fflush(NULL);
    if (getenv("GCOV_FLUSH")) exit(0);
    _exit(0);
}

static void replay_line(const struct options *o, uint64_t seed, char *out, size_t size)
{
    char extra[64] = "";

    if (o->nodes)
        snprintf(extra + strlen(extra), sizeof extra - strlen(extra), " --nodes %u",
                 o->nodes);
    if (o->steps)
        snprintf(extra + strlen(extra), sizeof extra - strlen(extra), " --steps %" PRIu64,
                 o->steps);
    snprintf(out, size, "%s%s%s --seed %" PRIu64 "%s --trace", o->self,
             o->mutation ? " --mutation " : "", o->mutation ? o->mutation : "", seed,
             extra);
}

static pid_t start_worker(const struct options *o, struct worker *me)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        make_root();
        atexit(remove_root);
        work(o, me, o->jobs);
    }
    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    return pid;
}

static void report_failure(const struct options *o, const struct worker *me, int status)
{
    char line[256];

    replay_line(o, me->seed, line, sizeof line);
    printf("seed %" PRIu64 ": %s", me->seed, me->failed ? me->text : "died");
    if (!me->failed && WIFSIGNALED(status)) printf(" of signal %d", WTERMSIG(status));
    printf("\n    replay: %s\n", line);
}

/* Runs the seeds; gives how many failed.  first_failed: stop there. */
static uint64_t run_seeds(const struct options *o, bool quiet, uint64_t *passed,
                          struct sim_stats *sum, uint64_t *first_failed)
{
    struct worker *workers =
        mmap(NULL, JOBS_MAX * sizeof *workers, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[JOBS_MAX] = {0};
    uint64_t failed = 0;
    unsigned running = 0;

    CHECK(workers != MAP_FAILED);
    for (unsigned i = 0; i < o->jobs; i++) {
        workers[i].seed = o->first + i;
        pids[i] = start_worker(o, &workers[i]);
        running++;
    }
    while (running > 0) {
        int status;
        pid_t pid = wait(&status);

        for (unsigned i = 0; i < o->jobs; i++) {
            if (pids[i] != pid) continue;
            running--;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
            if (!quiet && failed < FAILURES_SHOWN) report_failure(o, &workers[i], status);
            failed++;
            if (first_failed && workers[i].seed < *first_failed)
                *first_failed = workers[i].seed;
            if (quiet) { /* one is enough */
                for (unsigned k = 0; k < o->jobs; k++)
                    if (k != i && pids[k] > 0) kill(pids[k], SIGKILL);
                break;
            }
            workers[i].failed = false;
            workers[i].seed += o->jobs;
            pids[i] = start_worker(o, &workers[i]);
            running++;
            break;
        }
        for (unsigned i = 0; i < o->jobs; i++)
            if (pids[i] == pid) pids[i] = 0;
    }
    for (unsigned i = 0; i < o->jobs; i++) {
        *passed += workers[i].passed;
        add_stats(sum, &workers[i].sum);
    }
    munmap(workers, JOBS_MAX * sizeof *workers);
    return failed;
}

static void usage(void)
{
    puts(
        "sim [--seeds N] [--first F] [--jobs J]   N seeds from F on (2000 from 1), on J "
        "processes\n"
        "sim --seed S [--nodes K] [--steps M] [--trace[=LEVEL]]   one again\n"
        "sim --scenarios[=TEXT] [--update]        the stories below tests/scenario\n"
        "sim --mutation NAME | --mutations        is a mistake made on purpose noticed?");
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"seeds", required_argument, NULL, 'n'},
                                          {"first", required_argument, NULL, 'f'},
                                          {"jobs", required_argument, NULL, 'j'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"nodes", required_argument, NULL, 'k'},
                                          {"steps", required_argument, NULL, 'm'},
                                          {"trace", optional_argument, NULL, 't'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct options o = {.first = 1, .seeds = 2000, .trace = -1, .self = argv[0]};
    struct sim_stats sum = {0};
    uint64_t passed = 0, failed;
    struct timespec t0, t1;
    int c;

    o.jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'n': o.seeds = strtoull(optarg, NULL, 0); break;
        case 'f': o.first = strtoull(optarg, NULL, 0); break;
        case 'j': o.jobs = (unsigned)strtoul(optarg, NULL, 0); break;
        case 's':
            o.one = true;
            o.first = strtoull(optarg, NULL, 0);
            break;
        case 'k': o.nodes = (uint32_t)strtoul(optarg, NULL, 0); break;
        case 'm': o.steps = strtoull(optarg, NULL, 0); break;
        case 't': o.trace = optarg ? atoi(optarg) : 1; break;
        default: usage(); return c == 'h' ? 0 : 2;
        }
    }
    if (o.jobs < 1) o.jobs = 1;
    if (o.jobs > JOBS_MAX) o.jobs = JOBS_MAX;
    if (o.one) {
        struct worker me = {0};

        make_root();
        atexit(remove_root);
        if (run_seed(&o, o.first, &me)) return 0;
        printf("seed %" PRIu64 ": %s\n", o.first, me.text);
        return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &t0);
    failed = run_seeds(&o, false, &passed, &sum, NULL);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    print_stats(&sum);
    printf("%ld s\n", (long)(t1.tv_sec - t0.tv_sec));
    printf("sim: %" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
    return failed != 0;
}
