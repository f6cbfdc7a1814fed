/* SPDX-License-Identifier: MIT */
#include "tests/lib/faulty_io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct change { /* to a file's bytes since its last sync */
    uint64_t at;
    size_t len;
    uint8_t *data; /* NULL: the size became at */
};

struct inode {
    uint8_t *now, *synced;
    size_t len, cap, synced_len;
    struct change *changes;
    size_t n, cap_changes;
};

enum { NAMES_MAX = 256, NAME_MAX_BYTES = 160 };

struct name {
    char name[NAME_MAX_BYTES];
    struct inode *inode;
};

struct dir {
    struct name names[NAMES_MAX];
    size_t n;
};

struct dir_change { /* inode: name is it; from: renamed; neither: unlinked */
    char name[NAME_MAX_BYTES], from[NAME_MAX_BYTES];
    struct inode *inode;
    struct inode *moved; /* a file that changes its name */
    bool directory; /* unlinked, with what it held in the last version that was synced */
};

struct faulty {
    struct io io; /* first */
    struct inode **inodes;
    size_t n_inodes;
    struct dir now, synced;
    struct dir_change *changes;
    size_t n_changes;
    uint64_t ops, writes, syncs;
    uint64_t fail_at, die_at; /* in ops; 0 = never */
    enum err fail_with;
    bool dead, changed, imports;
    size_t open;
};

struct io_file {
    struct faulty *f;
    struct inode *inode;
};

static void *must(void *p)
{
    if (p == NULL) abort();
    return p;
}

static void *bigger(void *p, size_t size)
{
    return must(realloc(p, size > 0 ? size : 1));
}

/* --- directories --------------------------------------------------------------- */

static struct name *dir_find(struct dir *d, const char *name)
{
    for (size_t i = 0; i < d->n; i++)
        if (strcmp(d->names[i].name, name) == 0) return &d->names[i];
    return NULL;
}

static void dir_put(struct dir *d, const char *name, struct inode *inode)
{
    struct name *n = dir_find(d, name);

    if (n == NULL) {
        CHECK(d->n < NAMES_MAX);
        CHECK(strlen(name) < NAME_MAX_BYTES);
        n = &d->names[d->n++];
        strcpy(n->name, name);
    }
    n->inode = inode;
}

static bool dir_remove(struct dir *d, const char *name)
{
    struct name *n = dir_find(d, name);

    if (n == NULL) return false;
    *n = d->names[--d->n];
    return true;
}

/* What is left of name below the directory path; NULL if it is not in there. */
static const char *below(const char *name, const char *path)
{
    size_t len = strlen(path);

    return strncmp(name, path, len) == 0 && name[len] == '/' ? name + len + 1 : NULL;
}

static bool dir_holds(const struct dir *d, const char *path)
{
    for (size_t i = 0; i < d->n; i++)
        if (below(d->names[i].name, path)) return true;
    return false;
}

/* The name has moved if it is below from. */
static void move_name(char name[NAME_MAX_BYTES], const char *from, const char *to)
{
    const char *rest = below(name, from);
    char moved[NAME_MAX_BYTES];

    if (rest == NULL) return;
    CHECK(strlen(to) + 1 + strlen(rest) < sizeof moved);
    strcpy(moved, to);
    strcat(moved, "/");
    strcat(moved, rest);
    strcpy(name, moved);
}

static void dir_apply(struct dir *d, const struct dir_change *c)
{
    struct name *from;

    if (c->directory) {
        for (size_t i = d->n; i-- > 0;)
            if (below(d->names[i].name, c->name)) d->names[i] = d->names[--d->n];
    } else if (c->inode != NULL) {
        dir_put(d, c->name, c->inode);
    } else if (c->from[0] == '\0') {
        dir_remove(d, c->name);
    } else if (c->moved != NULL) {
        /* What moves is the file, not whatever bears its old name on the disk. */
        from = dir_find(d, c->from);
        if (from != NULL && from->inode == c->moved) dir_remove(d, c->from);
        dir_put(d, c->name, c->moved);
    } else {
        for (size_t i = 0; i < d->n; i++) move_name(d->names[i].name, c->from, c->name);
    }
}

static void dir_change(struct faulty *f, const char *name, const char *from,
                       struct inode *inode)
{
    struct dir_change *c;

    f->changes = bigger(f->changes, (f->n_changes + 1) * sizeof *c);
    c = &f->changes[f->n_changes++];
    memset(c, 0, sizeof *c);
    snprintf(c->name, sizeof c->name, "%s", name);
    snprintf(c->from, sizeof c->from, "%s", from);
    c->inode = inode;
    if (inode == NULL && from[0] != '\0') {
        struct name *moving = dir_find(&f->now, from);

        c->moved = moving != NULL ? moving->inode : NULL;
    }
    dir_apply(&f->now, c);
}

/* --- files --------------------------------------------------------------------- */

static struct inode *inode_new(struct faulty *f)
{
    struct inode *i = must(calloc(1, sizeof *i));

    f->inodes = bigger(f->inodes, (f->n_inodes + 1) * sizeof *f->inodes);
    f->inodes[f->n_inodes++] = i;
    return i;
}

static void apply(uint8_t **data, size_t *len, size_t *cap, const struct change *c)
{
    size_t end = c->data != NULL ? (size_t)c->at + c->len : (size_t)c->at;

    if (end > *cap) {
        *data = bigger(*data, end * 2);
        *cap = end * 2;
    }
    if (end > *len) memset(*data + *len, 0, end - *len);
    if (end > *len || c->data == NULL) *len = end;
    if (c->len > 0) memcpy(*data + c->at, c->data, c->len);
}

static void change(struct inode *i, uint64_t at, const void *data, size_t len)
{
    struct change *c;

    if (i->n == i->cap_changes) {
        i->cap_changes = i->cap_changes == 0 ? 8 : i->cap_changes * 2;
        i->changes = bigger(i->changes, i->cap_changes * sizeof *c);
    }
    c = &i->changes[i->n++];
    *c = (struct change){.at = at, .len = len};
    if (data != NULL) c->data = memcpy(bigger(NULL, len), data, len);
    apply(&i->now, &i->len, &i->cap, c);
}

static void forget_changes(struct inode *i)
{
    for (size_t n = 0; n < i->n; n++) free(i->changes[n].data);
    i->n = 0;
}

/* All changes so far are on the disk.  Copies what changed alone: tests sync often. */
static void inode_sync(struct inode *i)
{
    size_t cap = i->synced_len;

    for (size_t n = 0; n < i->n; n++)
        apply(&i->synced, &i->synced_len, &cap, &i->changes[n]);
    forget_changes(i);
}

/* What the power left of one granule: its first version, or one of the later ones. */
static void crash_granule(struct inode *i, struct rand *r, uint64_t at, size_t granule,
                          uint8_t *out, size_t out_len)
{
    size_t touching = 0, keep;

    for (size_t n = 0; n < i->n; n++)
        touching +=
            i->changes[n].at < at + granule && i->changes[n].at + i->changes[n].len > at;
    if (touching == 0) return;
    keep = (size_t)rand_below(r, touching + 1);
    for (size_t n = 0; n < i->n && keep > 0; n++) {
        const struct change *c = &i->changes[n];
        uint64_t from = c->at > at ? c->at : at;
        uint64_t to = c->at + c->len < at + granule ? c->at + c->len : at + granule;
        if (from >= to) continue;
        keep--;
        if (to > out_len) to = out_len;
        if (from < to) memcpy(out + from, c->data + (from - c->at), (size_t)(to - from));
    }
}

static void inode_crash(struct inode *i, struct rand *r, size_t granule)
{
    size_t len = i->n > 0 && rand_below(r, 2) == 0 ? i->len : i->synced_len;
    uint8_t *out;

    out = must(calloc(1, len > 0 ? len : 1));
    memcpy(out, i->synced != NULL ? i->synced : out,
           len < i->synced_len ? len : i->synced_len);
    for (uint64_t at = 0; at < len; at += granule)
        crash_granule(i, r, at, granule, out, len);
    forget_changes(i);
    free(i->now);
    free(i->synced);
    i->now = out;
    i->len = i->cap = i->synced_len = len;
    i->synced = memcpy(bigger(NULL, len), out, len);
}

/* --- the operations ------------------------------------------------------------ */

/* Every operation comes through here.  *dying: power goes while it is under way. */
static enum err begin(struct faulty *f, bool *dying, bool changes, const char *what,
                      struct why *why)
{
    if (dying != NULL) *dying = false;
    f->ops++;
    if (f->dead) return why_set(why, ERR_IO, "%s: no power", what);
    if (f->ops == f->die_at) {
        f->dead = true;
        if (dying != NULL) *dying = true;
        return why_set(why, ERR_IO, "%s: power went", what);
    }
    if (f->ops == f->fail_at)
        return why_set(why, f->fail_with, "%s: %s", what,
                       f->fail_with == ERR_NO_SPACE ? "No space left on device"
                                                    : "Input/output error");
    if (changes) f->changed = true;
    return ERR_OK;
}

static enum err faulty_open(struct io *io, struct io_file **out, const char *path,
                            int flags, struct why *why)
{
    struct faulty *f = (struct faulty *)io;
    struct name *n = dir_find(&f->now, path);
    struct inode *inode = n != NULL ? n->inode : NULL;
    bool create = flags == IO_CREATE || flags == IO_EXCL;
    enum err e = begin(f, NULL, create && n == NULL, path, why);

    *out = NULL;
    if (e) return e;
    if (inode == NULL && !create)
        return why_set(why, ERR_NOT_FOUND, "%s: not found", path);
    if (inode != NULL && flags == IO_EXCL)
        return why_set(why, ERR_EXISTS, "%s: exists", path);
    if (inode == NULL) {
        inode = inode_new(f);
        dir_change(f, path, "", inode);
    }
    *out = must(calloc(1, sizeof **out));
    **out = (struct io_file){f, inode};
    f->open++;
    return ERR_OK;
}

static void faulty_close(struct io_file *file)
{
    if (file == NULL) return;
    file->f->open--;
    free(file);
}

static enum err faulty_read(struct io_file *file, uint64_t off, void *out, size_t len,
                            size_t *got, struct why *why)
{
    struct inode *i = file->inode;
    enum err e = begin(file->f, NULL, false, "read", why);

    *got = 0;
    if (e) return e;
    if (off >= i->len) return ERR_OK;
    *got = len < i->len - off ? len : i->len - (size_t)off;
    memcpy(out, i->now + off, *got);
    return ERR_OK;
}

static enum err faulty_write(struct io_file *file, uint64_t off, const void *data,
                             size_t len, struct why *why)
{
    bool dying;
    enum err e = begin(file->f, &dying, true, "write", why);

    if (!e || dying) change(file->inode, off, data, len);
    file->f->writes += !e;
    return e;
}

static enum err faulty_sync(struct io_file *file, struct why *why)
{
    enum err e = begin(file->f, NULL, false, "sync", why);

    if (e) {
        /* As Linux does: the pages can still be read, but count as clean from now on. */
        if (!file->f->dead) forget_changes(file->inode);
        return e;
    }
    file->f->syncs++;
    inode_sync(file->inode);
    return ERR_OK;
}

static enum err faulty_truncate(struct io_file *file, uint64_t size, struct why *why)
{
    bool dying;
    enum err e = begin(file->f, &dying, true, "truncate", why);

    if (!e || dying) change(file->inode, size, NULL, 0);
    return e;
}

static enum err faulty_size(struct io_file *file, uint64_t *out, struct why *why)
{
    *out = file->inode->len;
    return begin(file->f, NULL, false, "size", why);
}

static enum err faulty_mkdir(struct io *io, const char *path, struct why *why)
{
    return begin((struct faulty *)io, NULL, false, path, why);
}

/* A file that SQLite, say, has made on the real disk. */
static struct inode *import(struct faulty *f, const char *path)
{
    FILE *in = f->imports ? fopen(path, "rb") : NULL;
    struct inode *inode;
    char piece[1 << 14];
    size_t n;

    if (in == NULL) return NULL;
    inode = inode_new(f);
    while ((n = fread(piece, 1, sizeof piece, in)) > 0)
        change(inode, inode->len, piece, n);
    fclose(in);
    return inode;
}

static enum err faulty_op_rename(struct io *io, const char *from, const char *to,
                                 struct why *why)
{
    struct faulty *f = (struct faulty *)io;
    bool dying;
    enum err e = begin(f, &dying, true, from, why);
    struct inode *real = NULL;

    if (e && !dying) return e;
    if (dir_find(&f->now, from) == NULL && !dir_holds(&f->now, from)) {
        real = import(f, from);
        if (real == NULL) return why_set(why, ERR_NOT_FOUND, "%s: not found", from);
        (void)remove(from);
    }
    if (dir_holds(&f->now, to))
        return why_set(why, ERR_IO, "rename %s: Directory not empty", from);
    dir_change(f, to, real ? "" : from, real);
    return e;
}

static enum err faulty_unlink(struct io *io, const char *path, struct why *why)
{
    struct faulty *f = (struct faulty *)io;
    bool dying;
    enum err e = begin(f, &dying, true, path, why);

    if (e && !dying) return e;
    if (dir_find(&f->now, path) == NULL) {
        if (dir_holds(&f->now, path))
            return why_set(why, ERR_IO, "%s: Directory not empty", path);
        if (!dir_holds(&f->synced, path))
            return why_set(why, ERR_NOT_FOUND, "%s: not found", path);
        dir_change(f, path, "", NULL);
        f->changes[f->n_changes - 1].directory = true;
        return e;
    }
    dir_change(f, path, "", NULL);
    return e;
}

static bool is_in(const char *name, const char *dir)
{
    const char *rest = below(name, dir);

    return rest != NULL && strchr(rest, '/') == NULL;
}

/* A directory's sync is for the names in it alone. */
static enum err faulty_sync_dir(struct io *io, const char *path, struct why *why)
{
    struct faulty *f = (struct faulty *)io;
    enum err e = begin(f, NULL, false, path, why);
    size_t kept = 0;

    if (e) return e;
    for (size_t i = 0; i < f->n_changes; i++) {
        struct dir_change c = f->changes[i];
        if (!is_in(c.name, path)) {
            f->changes[kept++] = c;
            continue;
        }
        dir_apply(&f->synced, &c);
        for (size_t k = 0; k < kept && c.from[0] != '\0'; k++) {
            move_name(f->changes[k].name, c.from, c.name);
            move_name(f->changes[k].from, c.from, c.name);
        }
    }
    f->n_changes = kept;
    return ERR_OK;
}

/* The i-th name is the first with this component below path. */
static bool is_first(const struct dir *d, size_t i, const char *path, size_t len)
{
    const char *rest = below(d->names[i].name, path);

    for (size_t k = 0; k < i; k++) {
        const char *other = below(d->names[k].name, path);
        if (other != NULL && strncmp(other, rest, len) == 0 &&
            (other[len] == '\0' || other[len] == '/'))
            return false;
    }
    return true;
}

static enum err faulty_list(struct io *io, const char *path,
                            void (*each)(const char *name, void *arg), void *arg,
                            struct why *why)
{
    struct faulty *f = (struct faulty *)io;
    enum err e = begin(f, NULL, false, path, why);

    for (size_t i = 0; i < f->now.n && !e; i++) {
        const char *rest = below(f->now.names[i].name, path);
        size_t len = rest != NULL ? strcspn(rest, "/") : 0;
        char name[NAME_MAX_BYTES];
        if (rest == NULL || !is_first(&f->now, i, path, len)) continue;
        snprintf(name, sizeof name, "%.*s", (int)len, rest);
        each(name, arg);
    }
    return e;
}

static const struct io_ops faulty_io_ops = {
    .open = faulty_open,
    .close = faulty_close,
    .read = faulty_read,
    .write = faulty_write,
    .sync = faulty_sync,
    .truncate = faulty_truncate,
    .size = faulty_size,
    .mkdir = faulty_mkdir,
    .rename = faulty_op_rename,
    .unlink = faulty_unlink,
    .sync_dir = faulty_sync_dir,
    .list = faulty_list,
};

static void inode_free(struct inode *i)
{
    forget_changes(i);
    free(i->changes);
    free(i->now);
    free(i->synced);
    free(i);
}

/* --- the disk ------------------------------------------------------------------ */

struct faulty *faulty_new(void)
{
    struct faulty *f = must(calloc(1, sizeof *f));

    f->io.ops = &faulty_io_ops;
    return f;
}

void faulty_free(struct faulty *f)
{
    if (f == NULL) return;
    for (size_t i = 0; i < f->n_inodes; i++) inode_free(f->inodes[i]);
    free(f->inodes);
    free(f->changes);
    free(f);
}

struct io *faulty_io(struct faulty *f)
{
    return &f->io;
}

struct faulty *faulty_clone(const struct faulty *f)
{
    struct faulty *copy = faulty_new();

    for (size_t i = 0; i < f->now.n; i++) {
        const struct name *n = &f->now.names[i];
        faulty_set(copy, n->name, n->inode->now, n->inode->len);
    }
    return copy;
}

void faulty_import(struct faulty *f)
{
    f->imports = true;
}

uint64_t faulty_ops(const struct faulty *f)
{
    return f->ops;
}

uint64_t faulty_writes(const struct faulty *f)
{
    return f->writes;
}

uint64_t faulty_syncs(const struct faulty *f)
{
    return f->syncs;
}

bool faulty_changed(const struct faulty *f)
{
    return f->changed;
}

void faulty_fail_at(struct faulty *f, uint64_t n, enum err e)
{
    f->fail_at = n == 0 ? 0 : f->ops + n;
    f->fail_with = e;
}

void faulty_die_at(struct faulty *f, uint64_t n)
{
    f->die_at = f->ops + n;
}

void faulty_spare(struct faulty *f)
{
    f->die_at = f->fail_at = 0;
}

void faulty_die(struct faulty *f)
{
    f->dead = true;
}

bool faulty_dead(const struct faulty *f)
{
    return f->dead;
}

/* Nothing is open, and now and synced are the same. */
static void forget_unnamed(struct faulty *f)
{
    size_t kept = 0;

    for (size_t i = 0; i < f->n_inodes; i++) {
        bool named = false;
        for (size_t k = 0; k < f->now.n && !named; k++)
            named = f->now.names[k].inode == f->inodes[i];
        if (named)
            f->inodes[kept++] = f->inodes[i];
        else
            inode_free(f->inodes[i]);
    }
    f->n_inodes = kept;
}

void faulty_crash(struct faulty *f, struct rand *r, size_t granule)
{
    CHECK(f->open == 0);
    for (size_t i = 0; i < f->n_changes; i++)
        if (rand_below(r, 2) == 0) dir_apply(&f->synced, &f->changes[i]);
    f->n_changes = 0;
    f->now = f->synced;
    forget_unnamed(f);
    for (size_t i = 0; i < f->n_inodes; i++) inode_crash(f->inodes[i], r, granule);
    faulty_restart(f);
}

void faulty_restart(struct faulty *f)
{
    f->dead = f->changed = false;
    f->die_at = f->fail_at = 0;
}

uint8_t *faulty_bytes(struct faulty *f, const char *path, size_t *len)
{
    struct name *n = dir_find(&f->now, path);

    if (len != NULL) *len = n != NULL ? n->inode->len : 0;
    return n != NULL ? n->inode->now : NULL;
}

void faulty_set(struct faulty *f, const char *path, const void *data, size_t len)
{
    struct inode *i = inode_new(f);

    dir_put(&f->now, path, i);
    dir_put(&f->synced, path, i);
    change(i, 0, len > 0 ? data : "", len);
    inode_sync(i);
}

void faulty_cut(struct faulty *f, const char *path, size_t len)
{
    struct inode *i = dir_find(&f->now, path)->inode;

    change(i, len, NULL, 0);
    inode_sync(i);
}

void faulty_remove(struct faulty *f, const char *path)
{
    CHECK(dir_remove(&f->now, path));
    dir_remove(&f->synced, path);
}

void faulty_rename(struct faulty *f, const char *from, const char *to)
{
    struct inode *i = dir_find(&f->now, from)->inode;

    faulty_remove(f, from);
    dir_put(&f->now, to, i);
    dir_put(&f->synced, to, i);
}

const char *faulty_name(const struct faulty *f, size_t i)
{
    /* Few names: the one that has i smaller ones. */
    for (size_t a = 0; a < f->now.n; a++) {
        size_t smaller = 0;
        for (size_t b = 0; b < f->now.n; b++)
            smaller += strcmp(f->now.names[b].name, f->now.names[a].name) < 0;
        if (smaller == i) return f->now.names[a].name;
    }
    return NULL;
}
