/* SPDX-License-Identifier: MIT */
#include "core/cluster/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/io.h"
#include "core/cluster/internal.h"

struct spool {
    struct mailbox *box; /* owned */
    pthread_t thread;
};

static void deliver_done(struct mail *m, void *node)
{
    struct spool_job *j = LIST_ITEM(m, struct spool_job, mail);

    (void)node;
    j->done(j);
}

static void carry_out(struct spool_job *j)
{
    for (size_t done = 0; done < j->len;) {
        off_t at = (off_t)(j->offset + done);
        ssize_t n = j->write
                        ? pwrite(j->fd, j->data + done, io_write_some(j->len - done), at)
                        : pread(j->fd, j->data + done, j->len - done, at);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            (void)why_errno(&j->why, j->write ? "write a scratch file" : "read the file");
            return;
        }
        if (n == 0) {
            (void)why_set(&j->why, ERR_IO, "the file became shorter");
            return;
        }
        done += (size_t)n;
    }
}

static void *spool_main(void *arg)
{
    struct spool *s = arg;
    struct mail *m;

    while ((m = mailbox_wait(s->box, -1)) != NULL || !mailbox_closed(s->box)) {
        for (struct mail *next; m; m = next) {
            struct spool_job *j = LIST_ITEM(m, struct spool_job, mail);

            next = m->next;
            carry_out(j);
            cluster_post(j->cluster, &j->mail, deliver_done);
        }
    }
    return NULL;
}

static enum err spool_new(struct spool **out, struct why *why)
{
    struct spool *s = calloc(1, sizeof *s);
    enum err e;
    int rc;

    if (s == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    e = mailbox_new(&s->box, 0, false, why);
    if (e) {
        free(s);
        return e;
    }
    rc = pthread_create(&s->thread, NULL, spool_main, s);
    if (rc != 0) {
        mailbox_free(s->box);
        free(s);
        errno = rc;
        return why_errno(why, "start the spool thread");
    }
    (void)pthread_setname_np(s->thread, "spool");
    *out = s;
    return ERR_OK;
}

enum err spool_submit(struct cluster *cl, struct spool_job *j, struct why *why)
{
    enum err e = cl->spool ? ERR_OK : spool_new(&cl->spool, why);

    if (e) return e;
    j->cluster = cl;
    j->why = (struct why){0};
    e = mailbox_post(cl->spool->box, &j->mail);
    return e ? why_set(why, e, "the spool thread has ended") : ERR_OK;
}

void spool_free(struct spool *s)
{
    if (s == NULL) return;
    mailbox_close(s->box);
    pthread_join(s->thread, NULL);
    mailbox_free(s->box);
    free(s);
}

enum err spool_file(const struct cluster *cl, int *fd, struct why *why)
{
    const char *dir = node_scratch_dir(cl->node);
    char path[4200];

    /* Without a name from the beginning, but one can be given: the check of a loaded file
     * needs one (core/node/loads.c). */
    *fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*fd >= 0) return ERR_OK;
    snprintf(path, sizeof path, "%.4000s/spool-XXXXXX", dir);
    *fd = mkostemp(path, O_CLOEXEC);
    if (*fd < 0) return why_errno(why, "create a scratch file in %s", dir);
    unlink(path);
    return ERR_OK;
}
