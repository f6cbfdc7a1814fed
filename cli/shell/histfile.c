/* SPDX-License-Identifier: MIT */
#include "cli/shell/histfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HISTFILE_MOST = 1000000 };

size_t histfile_limit(const char *setting)
{
    char *end;
    long n;

    if (!setting || *setting == '\0') return HISTFILE_DEFAULT;
    errno = 0;
    n = strtol(setting, &end, 10);
    if (errno || *end != '\0') return HISTFILE_DEFAULT;
    if (n <= 0) return 0;
    return n > HISTFILE_MOST ? HISTFILE_MOST : (size_t)n;
}

void histfile_init(struct histfile *h, size_t limit)
{
    *h = (struct histfile){.limit = limit};
}

void histfile_fini(struct histfile *h)
{
    for (size_t i = 0; i < h->n; i++) free(h->lines[i]);
    free(h->lines);
    *h = (struct histfile){0};
}

bool histfile_add(struct histfile *h, const char *line)
{
    char **lines, *copy;

    if (h->limit == 0 || line[strspn(line, " \t\r\n")] == '\0') return false;
    if (h->n > 0 && strcmp(h->lines[h->n - 1], line) == 0) return false;
    copy = strdup(line);
    if (!copy) return false; /* a command forgotten, no more */
    if (h->n == h->limit) {
        free(h->lines[0]);
        memmove(h->lines, h->lines + 1, (h->n - 1) * sizeof(*h->lines));
        h->n--;
    }
    lines = realloc(h->lines, (h->n + 1) * sizeof(*lines));
    if (!lines) {
        free(copy);
        return false;
    }
    h->lines = lines;
    h->lines[h->n++] = copy;
    return true;
}

void histfile_load(struct histfile *h, const char *path)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;

    if (!f) return;
    while ((len = getline(&line, &cap, f)) >= 0) {
        if (len > 0 && line[len - 1] == '\n') line[len - 1] = '\0';
        histfile_add(h, line);
    }
    free(line);
    fclose(f);
}

enum err histfile_save(const struct histfile *h, const char *path, struct why *why)
{
    FILE *f;
    int fd;

    if (h->limit == 0) {
        if (unlink(path) < 0 && errno != ENOENT) return why_errno(why, "remove %s", path);
        return ERR_OK;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        if (fd >= 0) close(fd);
        return why_errno(why, "open %s", path);
    }
    /* Files of the reference are 0755. */
    if (fchmod(fd, 0600) < 0) errno = 0;
    for (size_t i = 0; i < h->n; i++) fprintf(f, "%s\n", h->lines[i]);
    if (fclose(f) != 0) return why_errno(why, "write %s", path);
    return ERR_OK;
}
