/* SPDX-License-Identifier: MIT */
/*
 * A login, from auth_ask():
 *
 *     HMAC of name and password -> the user's own, known -> granted at once
 *                               -> refused a moment ago  -> refused at once
 *                               -> a job for a hasher; the same password again joins it
 *     hasher: crypt_r() -> the HMAC is kept as known or as refused -> done()
 *
 * Where the file has a hash, every refusal costs one, also that of a name nobody has.
 */
#include "core/auth/auth.h"

#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/auth/file.h"
#include "core/auth/users.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/base/rand.h"

enum {
    DIGEST = 32,
    REFUSED = 256, /* wrong passwords remembered, so that a client that repeats one over
                      and over costs no more hashes */
    JOBS_MAX = 64, /* different passwords waiting to be hashed */
    HASHERS_MAX = 4,
    LOOK_S = 1, /* between looks at the file */
    NICENESS = 5
};

struct digest {
    uint8_t bytes[DIGEST];
    bool set;
};

struct job { /* a password to be hashed */
    struct list link;
    struct digest digest;
    char *user, *password; /* owned */
    struct auth_login *logins;
};

struct auth {
    char *path; /* owned */
    struct logger *logger;
    uint8_t key[DIGEST]; /* of this process */

    /* Not a mailbox: every asker reads what the hashers and the watcher write now and
     * then.  Held for a look-up and a comparison, never while hashing or reading. */
    pthread_mutex_t lock;
    pthread_cond_t work, look; /* for the hashers; for the watcher */
    struct auth_users *users;  /* owned */
    struct digest *known;      /* owned; of each user, by index */
    struct digest refused[REFUSED];
    uint64_t generation; /* of users */
    struct list waiting, hashing;
    size_t n_waiting;
    bool stopping, reload;

    struct auth_stamp stamp; /* the watcher's */
    pthread_t watcher, hashers[HASHERS_MAX];
    size_t n_hashers;
    bool watches;
};

/* --- what is remembered ----------------------------------------------------------- */

static struct digest digest_of(const struct auth *a, const char *user,
                               const char *password)
{
    uint8_t text[AUTH_USER_MAX + AUTH_PASSWORD_MAX + 2];
    size_t n_user = strlen(user) + 1, n = n_user + strlen(password);
    struct digest d = {.set = true};

    memcpy(text, user, n_user); /* with its zero, which neither can hold */
    memcpy(text + n_user, password, n - n_user);
    CHECK(HMAC(EVP_sha256(), a->key, sizeof a->key, text, n, d.bytes, NULL) != NULL);
    OPENSSL_cleanse(text, n);
    return d;
}

static bool same(const struct digest *a, const struct digest *b)
{
    return CRYPTO_memcmp(a->bytes, b->bytes, DIGEST) == 0 && a->set && b->set;
}

static struct digest *refused_slot(struct auth *a, const struct digest *d)
{
    return &a->refused[d->bytes[0] % REFUSED];
}

/* A clear password is known from the start. */
static struct digest *known_of(const struct auth *a, const struct auth_users *users)
{
    size_t n = auth_users_count(users);
    struct digest *known = calloc(n ? n : 1, sizeof *known);

    for (size_t i = 0; known && i < n; i++) {
        const struct auth_user *u = auth_users_at(users, i);

        if (u->name && u->password && !u->hashed)
            known[i] = digest_of(a, u->name, u->password);
    }
    return known;
}

/* --- a login, under the lock ------------------------------------------------------ */

enum outcome { RIGHT, WRONG, UNKNOWN };

static enum outcome look_up(struct auth *a, const char *user, const struct digest *d)
{
    static const struct digest none;
    const struct auth_user *u = auth_users_find(a->users, user);

    if (same(d, u ? &a->known[u->index] : &none)) return RIGHT;
    if (auth_users_any_hash(a->users) == NULL || same(d, refused_slot(a, d)))
        return WRONG;
    return UNKNOWN;
}

static uint32_t granted(const struct auth *a, const char *user, enum outcome o)
{
    const struct auth_user *u = o == RIGHT ? auth_users_find(a->users, user) : NULL;

    return auth_users_everybody(a->users) | (u ? u->permissions : 0);
}

static struct job *find_job(struct list *jobs, const struct digest *d)
{
    for (struct list *l = jobs->next; l != jobs; l = l->next) {
        struct job *j = LIST_ITEM(l, struct job, link);

        if (same(&j->digest, d)) return j;
    }
    return NULL;
}

static void job_free(struct job *j)
{
    if (j == NULL) return;
    if (j->password) explicit_bzero(j->password, strlen(j->password));
    free(j->password);
    free(j->user);
    free(j);
}

static struct job *job_new(const char *user, const char *password, const struct digest *d)
{
    struct job *j = calloc(1, sizeof *j);

    if (j == NULL) return NULL;
    list_init(&j->link);
    j->digest = *d;
    j->user = strdup(user);
    j->password = strdup(password);
    if (j->user && j->password) return j;
    job_free(j);
    return NULL;
}

static bool enqueue(struct auth *a, const char *user, const char *password,
                    const struct digest *d, struct auth_login *login)
{
    struct job *j;

    if (a->stopping) return false;
    j = find_job(&a->waiting, d);
    if (j == NULL) j = find_job(&a->hashing, d);
    if (j == NULL) {
        if (a->n_waiting >= JOBS_MAX) return false;
        j = job_new(user, password, d);
        if (j == NULL) return false;
        list_push_back(&a->waiting, &j->link);
        a->n_waiting++;
        pthread_cond_signal(&a->work);
    }
    login->next = j->logins;
    j->logins = login;
    return true;
}

static bool possible(const char *user, const char *password)
{
    return user != NULL && user[0] != '\0' && strcmp(user, "*") != 0 &&
           strlen(user) <= AUTH_USER_MAX && strlen(password) <= AUTH_PASSWORD_MAX;
}

enum auth_answer auth_ask(struct auth *a, const char *user, const char *password,
                          uint32_t wanted, uint32_t *out, struct auth_login *login)
{
    enum outcome outcome = WRONG;
    enum auth_answer answer = AUTH_NOW;
    struct digest d;
    bool login_possible;

    *out = wanted;
    if (a == NULL) return AUTH_NOW;
    if (password == NULL) password = "";
    login_possible = possible(user, password);
    if (login_possible) d = digest_of(a, user, password);
    pthread_mutex_lock(&a->lock);
    if ((wanted & ~auth_users_everybody(a->users)) != 0 && login_possible)
        outcome = look_up(a, user, &d);
    if (outcome == UNKNOWN) {
        login->wanted = wanted;
        login->granted = 0;
        answer = enqueue(a, user, password, &d, login) ? AUTH_LATER : AUTH_BUSY;
    }
    *out = outcome == UNKNOWN ? 0 : wanted & granted(a, user, outcome);
    pthread_mutex_unlock(&a->lock);
    return answer;
}

bool auth_never(struct auth *a, const char *user, const char *password, uint32_t wanted)
{
    enum outcome outcome = WRONG;
    uint32_t bits;
    struct digest d;
    bool login_possible;

    if (a == NULL) return false;
    if (password == NULL) password = "";
    login_possible = possible(user, password);
    if (login_possible) d = digest_of(a, user, password);
    pthread_mutex_lock(&a->lock);
    if (login_possible) outcome = look_up(a, user, &d);
    bits = granted(a, user, outcome);
    pthread_mutex_unlock(&a->lock);
    return outcome != UNKNOWN && (bits & wanted) == 0;
}

enum err auth_password(struct auth *a, const char *user, char out[AUTH_PASSWORD_MAX + 1])
{
    const struct auth_user *u;
    enum err e = ERR_NOT_FOUND;

    pthread_mutex_lock(&a->lock);
    u = auth_users_find(a->users, user);
    if (u && u->hashed) {
        e = ERR_UNSUPPORTED;
    } else if (u && u->password) {
        memcpy(out, u->password, strlen(u->password) + 1);
        e = ERR_OK;
    }
    pthread_mutex_unlock(&a->lock);
    return e;
}

/* --- hashing ---------------------------------------------------------------------- */

/* Does the password have this hash?  Takes its time. */
static bool verify(const char *password, const char *hash, struct crypt_data *data)
{
    const char *found = crypt_r(password, hash, data);
    size_t n = strlen(hash);

    return found && strlen(found) == n && CRYPTO_memcmp(found, hash, n) == 0;
}

/* The hash to try j's password with; malloc'd, NULL when out of memory.  *theirs: it is
 * that user's, and not one to pass the time with. */
static char *hash_for(struct auth *a, const struct job *j, bool *theirs)
{
    const struct auth_user *u = auth_users_find(a->users, j->user);

    *theirs = u && u->hashed;
    return strdup(*theirs ? u->password : auth_users_any_hash(a->users));
}

static void remember(struct auth *a, const struct job *j, bool right)
{
    const struct auth_user *u = auth_users_find(a->users, j->user);

    if (right && u)
        a->known[u->index] = j->digest;
    else
        *refused_slot(a, &j->digest) = j->digest;
}

/* Under the lock, which is let go of while hashing. */
static enum outcome carry_out(struct auth *a, const struct job *j,
                              struct crypt_data *data)
{
    enum outcome o;

    while ((o = look_up(a, j->user, &j->digest)) == UNKNOWN && !a->stopping) {
        uint64_t generation = a->generation;
        bool theirs, right;
        char *hash = hash_for(a, j, &theirs);

        if (hash == NULL) return WRONG;
        pthread_mutex_unlock(&a->lock);
        right = verify(j->password, hash, data) && theirs;
        explicit_bzero(hash, strlen(hash));
        free(hash);
        pthread_mutex_lock(&a->lock);
        if (generation != a->generation) continue; /* there are other users now */
        remember(a, j, right);
        return right ? RIGHT : WRONG;
    }
    return o;
}

/* Under the lock, which is let go of while they are told. */
static void answer(struct auth *a, struct job *j, enum outcome o)
{
    struct auth_login *next;
    uint32_t bits = granted(a, j->user, o);

    list_remove(&j->link); /* nobody joins it any more */
    pthread_mutex_unlock(&a->lock);
    for (struct auth_login *l = j->logins; l; l = next) {
        next = l->next;
        l->granted = l->wanted & bits;
        l->done(l);
    }
    job_free(j);
    pthread_mutex_lock(&a->lock);
}

static void *hasher_main(void *arg)
{
    struct auth *a = arg;
    struct crypt_data *data = calloc(1, sizeof *data);

    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
    CHECK(data != NULL); /* at the start, before anything is served */
    pthread_mutex_lock(&a->lock);
    for (;;) {
        struct list *l = list_pop_front(&a->waiting);

        if (l) {
            struct job *j = LIST_ITEM(l, struct job, link);

            a->n_waiting--;
            list_push_back(&a->hashing, &j->link);
            answer(a, j, carry_out(a, j, data));
        } else if (a->stopping) {
            break;
        } else {
            pthread_cond_wait(&a->work, &a->lock);
        }
    }
    pthread_mutex_unlock(&a->lock);
    explicit_bzero(data, sizeof *data);
    free(data);
    return NULL;
}

/* --- reloading -------------------------------------------------------------------- */

static enum err take(struct auth *a, struct why *why)
{
    struct auth_users *users, *old;
    struct digest *known, *old_known;
    enum err e = auth_file_read(&users, a->path, &a->stamp, why);

    if (e) return e;
    known = known_of(a, users);
    if (known == NULL) {
        auth_users_free(users);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    pthread_mutex_lock(&a->lock);
    old = a->users;
    old_known = a->known;
    a->users = users;
    a->known = known;
    a->generation++;
    memset(a->refused, 0, sizeof a->refused);
    pthread_mutex_unlock(&a->lock);
    auth_users_free(old);
    free(old_known);
    return ERR_OK;
}

static void take_again(struct auth *a)
{
    struct why why = {0};

    if (take(a, &why) == ERR_OK)
        logger_info(a->logger, "http", "credentials read again from %s", a->path);
    else
        logger_error(a->logger, "http",
                     "credentials not read again, those from before stay in force: %s",
                     why.text);
}

static void *watcher_main(void *arg)
{
    struct auth *a = arg;

    pthread_mutex_lock(&a->lock);
    while (!a->stopping) {
        struct timespec until;
        bool reload;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += LOOK_S;
        while (!a->stopping && !a->reload &&
               pthread_cond_timedwait(&a->look, &a->lock, &until) != ETIMEDOUT) {
        }
        if (a->stopping) break;
        reload = a->reload;
        a->reload = false;
        pthread_mutex_unlock(&a->lock);
        if (reload || auth_file_changed(a->path, &a->stamp)) take_again(a);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

void auth_reload(struct auth *a)
{
    pthread_mutex_lock(&a->lock);
    a->reload = true;
    pthread_cond_signal(&a->look);
    pthread_mutex_unlock(&a->lock);
}

/* --- opening and closing ---------------------------------------------------------- */

static bool start(pthread_t *id, void *(*run)(void *), struct auth *a)
{
    sigset_t all, before;
    int e;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    e = pthread_create(id, NULL, run, a);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return e == 0;
}

static size_t hashers_wanted(void)
{
    cpu_set_t set;
    size_t n = sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;

    n /= 2;
    return n < 1 ? 1 : n > HASHERS_MAX ? HASHERS_MAX : n;
}

static enum err start_threads(struct auth *a, struct why *why)
{
    size_t n = hashers_wanted();

    a->watches = start(&a->watcher, watcher_main, a);
    while (a->watches && a->n_hashers < n &&
           start(&a->hashers[a->n_hashers], hasher_main, a))
        a->n_hashers++;
    return a->n_hashers == n ? ERR_OK
                             : why_set(why, ERR_NOMEM, "failed to start a thread");
}

enum err auth_open(struct auth **out, const char *path, struct logger *logger,
                   struct why *why)
{
    struct auth *a = calloc(1, sizeof *a);
    pthread_condattr_t attr;
    enum err e;

    *out = NULL;
    if (a == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    a->logger = logger;
    for (size_t i = 0; i < DIGEST; i += sizeof(uint64_t)) {
        uint64_t r = rand_entropy();

        memcpy(a->key + i, &r, sizeof r);
    }
    list_init(&a->waiting);
    list_init(&a->hashing);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->work, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a->look, &attr);
    pthread_condattr_destroy(&attr);
    a->path = strdup(path);
    e = a->path ? take(a, why) : why_set(why, ERR_NOMEM, "out of memory");
    if (!e) e = start_threads(a, why);
    if (e) {
        auth_free(a);
        return e;
    }
    *out = a;
    return ERR_OK;
}

void auth_stop(struct auth *a)
{
    if (a == NULL) return;
    pthread_mutex_lock(&a->lock);
    a->stopping = true;
    pthread_cond_broadcast(&a->work);
    pthread_cond_signal(&a->look);
    pthread_mutex_unlock(&a->lock);
    if (a->watches) pthread_join(a->watcher, NULL);
    a->watches = false;
    while (a->n_hashers > 0) pthread_join(a->hashers[--a->n_hashers], NULL);
}

void auth_free(struct auth *a)
{
    if (a == NULL) return;
    auth_stop(a);
    auth_users_free(a->users);
    free(a->known);
    pthread_cond_destroy(&a->look);
    pthread_cond_destroy(&a->work);
    pthread_mutex_destroy(&a->lock);
    free(a->path);
    explicit_bzero(a, sizeof *a);
    free(a);
}
