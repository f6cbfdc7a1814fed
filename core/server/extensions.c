/* SPDX-License-Identifier: MIT */
#include "core/server/extensions.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/io.h"
#include "core/server/flags.h"

static enum err out_of_memory(struct why *why)
{
    return why_set(why, ERR_NOMEM, "out of memory");
}

static void remove_entry(const char *name, void *arg)
{
    char *path;

    if (asprintf(&path, "%s/%s", (const char *)arg, name) < 0) return;
    unlink(path); /* a directory in there is not ours, and stays */
    free(path);
}

/* Take note of a copy; false if a file of that name is there already. */
static enum err add_path(struct extensions *x, const char *path, struct why *why)
{
    char **paths;

    for (size_t i = 0; i < x->n; i++)
        if (strcmp(x->paths[i], path) == 0) return ERR_OK;
    paths = realloc(x->paths, (x->n + 1) * sizeof *paths);
    if (!paths) return out_of_memory(why);
    x->paths = paths;
    paths[x->n] = strdup(path);
    if (!paths[x->n]) return out_of_memory(why);
    x->n++;
    return ERR_OK;
}

/* zip or gzip by their first bytes. */
static bool is_archive(int fd)
{
    unsigned char head[4] = {0};

    if (pread(fd, head, sizeof head, 0) < 2) return false;
    return memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "\x1f\x8b", 2) == 0;
}

static enum err copy_bytes(int from, int to, const char *path, struct why *why)
{
    ssize_t n;

    while ((n = sendfile(to, from, NULL, 1 << 20)) != 0)
        if (n < 0 && errno != EINTR) return why_errno(why, "copy %s", path);
    return ERR_OK;
}

static enum err copy_file(struct extensions *x, const char *from, struct why *why)
{
    const char *slash = strrchr(from, '/');
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
    char *path = NULL;
    enum err e;

    if (in < 0) return why_errno(why, "open %s", from);
    if (is_archive(in)) {
        e = why_set(why, ERR_UNSUPPORTED, "archives are not available yet: %s", from);
    } else if (asprintf(&path, "%s/%s", x->dir, slash ? slash + 1 : from) < 0) {
        path = NULL;
        e = out_of_memory(why);
    } else {
        out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
        e = out < 0 ? why_errno(why, "create %s", path) : copy_bytes(in, out, from, why);
    }
    if (!e) e = add_path(x, path, why);
    close(in);
    if (out >= 0) close(out);
    free(path);
    return e;
}

static enum err copy_directory(struct extensions *x, const char *from, struct why *why)
{
    DIR *dir = opendir(from);
    struct dirent *entry;
    enum err e = ERR_OK;

    if (!dir) return why_errno(why, "open %s", from);
    while (!e && (entry = readdir(dir))) {
        struct stat st;
        char *path;

        if (*entry->d_name == '.') continue;
        if (asprintf(&path, "%s/%s", from, entry->d_name) < 0) {
            e = out_of_memory(why);
            break;
        }
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) e = copy_file(x, path, why);
        free(path);
    }
    closedir(dir);
    return e;
}

static enum err copy_item(struct extensions *x, const char *item, size_t len,
                          struct why *why)
{
    char *path = strndup(item, len);
    struct stat st;
    enum err e;

    if (!path) return out_of_memory(why);
    if (stat(path, &st) != 0)
        e = why_errno(why, "%s", path);
    else
        e = S_ISDIR(st.st_mode) ? copy_directory(x, path, why) : copy_file(x, path, why);
    free(path);
    return e;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum err extensions_open(struct extensions *x, const char *data_dir, const char *list,
                         struct why *why)
{
    struct io *io = io_real();
    const char *item;
    size_t len;
    enum err e;

    *x = (struct extensions){0};
    if (asprintf(&x->dir, "%s/extensions", data_dir) < 0) {
        x->dir = NULL;
        return out_of_memory(why);
    }
    if (!*list && access(x->dir, F_OK) != 0) return ERR_OK;
    e = io->ops->mkdir(io, x->dir, why);
    if (!e) e = io->ops->list(io, x->dir, remove_entry, x->dir, why);
    while (!e && flags_next_item(&list, &item, &len))
        if (len > 0) e = copy_item(x, item, len, why);
    if (!e && x->n > 0) qsort(x->paths, x->n, sizeof *x->paths, by_text);
    return e;
}

void extensions_close(struct extensions *x)
{
    for (size_t i = 0; i < x->n; i++) free(x->paths[i]);
    free(x->paths);
    free(x->dir);
    *x = (struct extensions){0};
}
