/* SPDX-License-Identifier: MIT */
#include "core/node/identity.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/base/io.h"

enum { TEXT_BYTES = 17 }; /* 16 hex digits and a newline */

static void path_of(char *out, size_t size, const char *data_dir, const char *suffix)
{
    snprintf(out, size, "%s/cluster-id%s", data_dir, suffix);
}

enum err cluster_id_load(struct io *io, const char *data_dir, uint64_t *id,
                         struct why *why)
{
    char path[4200], text[TEXT_BYTES + 2] = "", end;
    struct io_file *f;
    size_t got = 0;
    enum err e;

    *id = 0;
    path_of(path, sizeof path, data_dir, "");
    e = io->ops->open(io, &f, path, IO_READ, why);
    if (e == ERR_NOT_FOUND) return ERR_OK;
    if (e) return e;
    e = io->ops->read(f, 0, text, TEXT_BYTES + 1, &got, why);
    io->ops->close(f);
    if (e) return e;
    if (got != TEXT_BYTES || sscanf(text, "%16" SCNx64 "%c", id, &end) != 2 ||
        end != '\n' || *id == 0)
        return why_set(why, ERR_CORRUPT, "%s does not hold a cluster's number", path);
    return ERR_OK;
}

enum err cluster_id_save(struct io *io, const char *data_dir, uint64_t id,
                         struct why *why)
{
    char path[4200], temporary[4200], text[TEXT_BYTES + 1];
    struct io_file *f = NULL;
    enum err e;

    path_of(path, sizeof path, data_dir, "");
    path_of(temporary, sizeof temporary, data_dir, ".tmp");
    snprintf(text, sizeof text, "%016" PRIx64 "\n", id);
    e = io->ops->open(io, &f, temporary, IO_CREATE, why);
    if (!e) e = io->ops->write(f, 0, text, TEXT_BYTES, why);
    if (!e) e = io->ops->sync(f, why);
    io->ops->close(f);
    if (!e) e = io->ops->rename(io, temporary, path, why);
    if (!e) e = io->ops->sync_dir(io, data_dir, why);
    return e;
}
