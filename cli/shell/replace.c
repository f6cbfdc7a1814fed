/* SPDX-License-Identifier: MIT */
#include "cli/shell/replace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/words.h"

static enum err failed(const char *what, const char *path, struct why *why)
{
    char words[WORDS_ERRNO_MAX];
    return why_set(why, ERR_IO, "%s %s: %s", what, path, words_errno(errno, words));
}

static void forget(struct replace *r)
{
    free(r->target);
    free(r->scratch);
    *r = (struct replace){0};
}

/* The mode a new file would get, or that of the file to be replaced. */
static mode_t final_mode(const char *target)
{
    struct stat st;
    mode_t mask = umask(0);

    umask(mask);
    return stat(target, &st) == 0 ? st.st_mode & 07777 : 0666 & ~mask;
}

enum err replace_open(struct replace *r, const char *path, struct why *why)
{
    struct stat st;
    enum err e = ERR_OK;
    int fd;

    *r = (struct replace){.target = realpath(path, NULL)};
    if (!r->target) r->target = strdup(path);
    if (!r->target) return why_set(why, ERR_NOMEM, "out of memory");
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        r->file = fopen(path, "we");
        if (!r->file) e = failed("open", path, why);
    } else if (asprintf(&r->scratch, "%s.XXXXXX", r->target) < 0) {
        r->scratch = NULL;
        e = why_set(why, ERR_NOMEM, "out of memory");
    } else {
        fd = mkstemp(r->scratch);
        r->file = fd < 0 ? NULL : fdopen(fd, "w");
        if (!r->file) e = failed("open", path, why);
    }
    if (e) forget(r);
    return e;
}

enum err replace_commit(struct replace *r, struct why *why)
{
    int fd = fileno(r->file);
    enum err e = ERR_OK;

    if (fflush(r->file) != 0) e = failed("write", r->target, why);
    if (!e && r->scratch &&
        (fchmod(fd, final_mode(r->target)) < 0 || fsync(fd) < 0 ||
         rename(r->scratch, r->target) < 0))
        e = failed("write", r->target, why);
    if (e) {
        replace_abort(r);
        return e;
    }
    fclose(r->file);
    forget(r);
    return ERR_OK;
}

void replace_abort(struct replace *r)
{
    if (r->file) fclose(r->file);
    if (r->scratch) unlink(r->scratch);
    forget(r);
}
