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

#include "tests/sim/mutants.h"
#include "tests/sim/sim.h"

enum { JOBS_MAX = 64, FAILURES_SHOWN = 5, REPLAY_EVERY = 100 };

struct options {
    uint64_t first, seeds, steps;
    uint32_t nodes;
    unsigned jobs;
    int trace;
    bool one;
    const struct mutant *mutant;
    const char *self;
};

struct worker { /* shared with it */
    uint64_t seed, passed, steps;
    bool failed;
    char text[400];
    struct sim_stats sum;
};

/* --- scratch directory --------------------------------------------------------- */

static char top[64];  /* of this run */
static char root[80]; /* of this process */
static volatile sig_atomic_t stopped;

static void make_top(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(top, sizeof top, "%.40s/rqsim.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm"
             : tmp                         ? tmp
                                           : "/tmp");
    if (mkdtemp(top) == NULL) {
        perror(top);
        exit(2);
    }
    snprintf(root, sizeof root, "%s", top);
}

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static void remove_top(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", top);
    if (system(command) != 0) fprintf(stderr, "cannot remove %s\n", top);
}

/* --- seeds --------------------------------------------------------------------- */

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
           " reads, %" PRIu64 " snapshots taken, %" PRIu64 " of them deltas, %" PRIu64
           " foldings, %" PRIu64 " streams gone on with, %" PRIu64 " installed, %" PRIu64
           " membership changes, %" PRIu64 " transfers, %" PRIu64
           " power losses, %" PRIu64 " of them in the middle of an operation, %" PRIu64
           " kills and stops, %" PRIu64 " disk errors, %" PRIu64 " starts\n",
           s->steps, s->messages, s->elections, s->commits, s->writes, s->unknown,
           s->reads, s->taken, s->deltas, s->folds, s->resumed, s->installs, s->changes,
           s->transfers, s->crashes, s->disk_deaths, s->kills, s->disk_errors,
           s->restarts);
}

static bool run_seed(const struct options *o, uint64_t seed, struct worker *me,
                     uint64_t *digest)
{
    struct sim *w = malloc(sizeof *w);
    bool ok;

    CHECK(w != NULL);
    ok = chaos_run(w, root, seed, o->nodes, o->steps, o->trace);
    add_stats(&me->sum, &w->stats);
    if (!ok) snprintf(me->text, sizeof me->text, "%s", w->violation);
    if (o->one && ok)
        printf("seed %" PRIu64 ": fine, digest %016" PRIx64 "\n", seed, w->digest);
    *digest = w->digest;
    sim_free(w);
    free(w);
    return ok;
}

/* A seed that does not replay is no help to anybody: now and then, see that it does. */
static bool check_seed(const struct options *o, uint64_t seed, struct worker *me)
{
    uint64_t first, second;

    if (!run_seed(o, seed, me, &first)) return false;
    if (seed % REPLAY_EVERY != 0) return true;
    if (!run_seed(o, seed, me, &second)) return false;
    if (first == second) return true;
    snprintf(me->text, sizeof me->text, "it went otherwise the second time");
    return false;
}

_Noreturn static void work(const struct options *o, struct worker *me, uint64_t step)
{
    for (; me->seed < o->first + o->seeds; me->seed += step) {
        if (!check_seed(o, me->seed, me)) {
            me->failed = true;
            exit(1);
        }
        me->passed++;
    }
    exit(0);
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
             o->mutant ? " --mutation " : "", o->mutant ? o->mutant->name : "", seed,
             extra);
}

static pid_t start_worker(const struct options *o, struct worker *me, unsigned number)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        (void)signal(SIGINT, SIG_DFL);
        (void)signal(SIGTERM, SIG_DFL);
        snprintf(root, sizeof root, "%s/%u", top, number);
        if (mkdir(root, 0700) != 0 && errno != EEXIST) _exit(2);
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

/* Runs the seeds; gives how many failed.  With until_one, the first to fail ends it. */
static uint64_t run_seeds(const struct options *o, bool until_one, uint64_t *passed,
                          struct sim_stats *sum)
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
        pids[i] = start_worker(o, &workers[i], i);
        running++;
    }
    while (running > 0) {
        int status;
        pid_t pid = wait(&status);

        if (pid < 0 && stopped) { /* SIGINT: the workers got it, too */
            for (unsigned k = 0; k < o->jobs; k++)
                if (pids[k] > 0) kill(pids[k], SIGTERM);
            remove_top();
            exit(130);
        }
        for (unsigned i = 0; i < o->jobs; i++) {
            if (pids[i] != pid) continue;
            running--;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
            if (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) break;
            if (failed < (until_one ? 1 : FAILURES_SHOWN))
                report_failure(o, &workers[i], status);
            failed++;
            if (until_one) {
                for (unsigned k = 0; k < o->jobs; k++)
                    if (k != i && pids[k] > 0) kill(pids[k], SIGTERM);
                break;
            }
            workers[i].failed = false;
            workers[i].seed += o->jobs;
            pids[i] = start_worker(o, &workers[i], i);
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

static bool run_many(const struct options *o)
{
    struct sim_stats sum = {0};
    struct timespec t0, t1;
    uint64_t passed = 0, failed;

    clock_gettime(CLOCK_MONOTONIC, &t0);
    failed = run_seeds(o, false, &passed, &sum);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    print_stats(&sum);
    printf("seeds %" PRIu64 " to %" PRIu64 " in %ld s\n", o->first,
           o->first + o->seeds - 1, (long)(t1.tv_sec - t0.tv_sec));
    printf("sim: %" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
    return failed == 0;
}

/* --- mutations ----------------------------------------------------------------- */

static bool is_noticed(const struct options *o, const struct mutant *m)
{
    struct options mine = *o;
    struct sim_stats sum = {0};
    uint64_t passed = 0, failed;

    mine.mutant = m;
    if (o->first == 0) mine.first = m->hint;
    printf("%s, from seed %" PRIu64 " on: ", m->name, mine.first);
    fflush(stdout);
    failed = run_seeds(&mine, true, &passed, &sum);
    if (failed == 0) printf("NOT NOTICED by %" PRIu64 " seeds\n", passed);
    return failed > 0;
}

static bool run_mutations(const struct options *o)
{
    unsigned noticed = 0, missed = 0;

    for (size_t i = 0; mutant_at(i); i++) {
        const struct mutant *m = mutant_at(i);

        if (o->mutant && o->mutant != m) continue;
        if (!mutant_use(m)) {
            fprintf(stderr, "only sim-mutants makes mistakes on purpose\n");
            return false;
        }
        if (is_noticed(o, m))
            noticed++;
        else
            missed++;
    }
    printf("mutants: %u passed, %u failed\n", noticed, missed);
    return missed == 0;
}

/* --- the command line ---------------------------------------------------------- */

static void usage(void)
{
    puts(
        "sim [--seeds N] [--first F] [--jobs J]   N seeds from F on (2000 from 1), on J "
        "processes\n"
        "sim --seed S [--nodes K] [--steps M] [--trace[=LEVEL]]   one again\n"
        "sim --scenarios[=TEXT] [--update] [--trace]   the stories below tests/scenario\n"
        "sim-mutants --mutations | --mutation NAME [--seed S]   are mistakes noticed?");
}

static int run_one(struct options *o)
{
    struct worker me = {0};
    uint64_t digest;

    o->one = true;
    if (run_seed(o, o->first, &me, &digest)) return 0;
    printf("seed %" PRIu64 ": %s\n", o->first, me.text);
    return 1;
}

static int run_scenarios(const char *match, bool update)
{
    size_t n = 0, bad = scenario_run_all(root, "tests/scenario", match, update, &n);

    printf("scenarios: %zu passed, %zu failed\n", n - bad, bad);
    return bad > 0;
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
                                          {"scenarios", optional_argument, NULL, 'c'},
                                          {"update", no_argument, NULL, 'u'},
                                          {"mutations", no_argument, NULL, 'M'},
                                          {"mutation", required_argument, NULL, 'x'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct options o = {.trace = -1, .self = argv[0]};
    const char *match = "";
    bool one = false, scenarios = false, update = false, mutations = false;
    int c;

    o.jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'n': o.seeds = strtoull(optarg, NULL, 0); break;
        case 'f': o.first = strtoull(optarg, NULL, 0); break;
        case 'j': o.jobs = (unsigned)strtoul(optarg, NULL, 0); break;
        case 's':
            one = true;
            o.first = strtoull(optarg, NULL, 0);
            break;
        case 'k': o.nodes = (uint32_t)strtoul(optarg, NULL, 0); break;
        case 'm': o.steps = strtoull(optarg, NULL, 0); break;
        case 't': o.trace = optarg ? atoi(optarg) : 1; break;
        case 'c':
            scenarios = true;
            if (optarg) match = optarg;
            break;
        case 'u': update = true; break;
        case 'M': mutations = true; break;
        case 'x':
            mutations = true;
            o.mutant = mutant_find(optarg);
            if (o.mutant == NULL) {
                for (size_t i = 0; mutant_at(i); i++) puts(mutant_at(i)->name);
                return 2;
            }
            break;
        default: usage(); return c == 'h' ? 0 : 2;
        }
    }
    if (o.jobs < 1) o.jobs = 1;
    if (o.jobs > JOBS_MAX) o.jobs = JOBS_MAX;
    if (o.seeds == 0) o.seeds = mutations ? 10000 : 2000;
    make_top();
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_signal}, NULL);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
    c = 0;
    if (scenarios) {
        c = run_scenarios(match, update);
    } else if (one) {
        c = o.mutant && !mutant_use(o.mutant) ? 2 : run_one(&o);
    } else if (mutations) {
        c = !run_mutations(&o);
    } else {
        if (o.first == 0) o.first = 1;
        c = !run_many(&o);
    }
    remove_top();
    return c;
}
