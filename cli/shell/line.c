/* SPDX-License-Identifier: MIT */
#include "cli/shell/line.h"

#include <ctype.h>
#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>

#include "cli/shell/cancel.h"
#include "cli/shell/histfile.h"

struct line {
    bool terminal;
    const char *prompt;
    const char *const *words;
    char *text; /* owned; the line read */
    size_t cap;

    EditLine *el;              /* owned; NULL when this is no terminal */
    History *recall;           /* owned; what the arrow keys walk through */
    struct histfile kept;      /* the same, for the file */
    char *histfile_path;       /* owned; NULL without a home */
    struct sigaction old_stop; /* what Ctrl-Z does outside of editing */
    sigset_t old_mask;         /* signals blocked outside of editing */
};

/* --- editing
 * ---------------------------------------------------------------------------------- */

static struct line *line_of(EditLine *el)
{
    void *l = NULL;

    el_get(el, EL_CLIENTDATA, &l);
    return l;
}

static char *on_prompt(EditLine *el)
{
    /* libedit only reads it, but its type says otherwise. */
    return (char *)(uintptr_t)line_of(el)->prompt;
}

/* Ctrl-Z and a new window size while a line is edited.  libedit's own handling would take
 * Ctrl-C from cancel.c as well, so the two are seen to here: as in cancel.c, a handler
 * needs globals. */
static volatile sig_atomic_t stop_wished, resized;

static void on_signal(int sig)
{
    if (sig == SIGTSTP)
        stop_wished = 1;
    else
        resized = 1;
}

static void heed_signals(EditLine *el)
{
    if (resized) {
        resized = 0;
        el_resize(el);
    }
    if (stop_wished) {
        struct sigaction ours;
        stop_wished = 0;
        el_set(el, EL_PREP_TERM, 0);
        /* Not SIGSTOP: where no shell could wake us, the kernel drops this one. */
        sigset_t waiting;
        sigaction(SIGTSTP, &line_of(el)->old_stop, &ours);
        raise(SIGTSTP);
        sigprocmask(SIG_SETMASK, &line_of(el)->old_mask, &waiting); /* here it stops */
        sigprocmask(SIG_SETMASK, &waiting, NULL);
        sigaction(SIGTSTP, &ours, NULL);
        el_set(el, EL_PREP_TERM, 1);
        el_set(el, EL_REFRESH);
    }
}

/* A character from the terminal.  Ctrl-C makes it fail, which ends el_gets(). */
static int on_getc(EditLine *el, wchar_t *out)
{
    unsigned char bytes[8];
    size_t n = 0;
    mbstate_t state;

    for (;;) {
        struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                {.fd = cancel_fd(), .events = POLLIN}};
        size_t used;

        /* The signals come only while it waits here, so none is missed between looking
         * and waiting. */
        if (ppoll(fds, 2, NULL, &line_of(el)->old_mask) < 0) {
            if (errno != EINTR) return -1;
            fds[0].revents = 0;
        }
        if (cancel_wished()) return -1;
        heed_signals(el);
        if (!(fds[0].revents & (POLLIN | POLLHUP | POLLERR))) continue;
        if (read(STDIN_FILENO, bytes + n, 1) <= 0) return errno == EINTR ? -1 : 0;
        n++;
        memset(&state, 0, sizeof(state));
        used = mbrtowc(out, (char *)bytes, n, &state);
        if (used == (size_t)-2 && n < sizeof(bytes))
            continue; /* more bytes of it to come */
        if (used == (size_t)-1 || used == (size_t)-2) *out = bytes[n - 1];
        return 1;
    }
}

/* Tab: complete a command at the start of the line as far as it is certain. */
static unsigned char on_complete(EditLine *el, wint_t ch)
{
    const LineInfo *info = el_line(el);
    size_t len = (size_t)(info->cursor - info->buffer), common = 0;
    const char *found = NULL;
    char rest[64];

    (void)ch;
    if (len == 0) return CC_ERROR;
    for (const char *const *w = line_of(el)->words; *w; w++) {
        if (strncasecmp(*w, info->buffer, len) != 0) continue;
        if (!found) {
            found = *w;
            common = strlen(*w);
        }
        while (strncmp(found, *w, common) != 0) common--;
    }
    if (!found || common <= len || common - len >= sizeof(rest)) return CC_ERROR;
    snprintf(rest, sizeof(rest), "%.*s", (int)(common - len), found + len);
    return el_insertstr(el, rest) == 0 ? CC_REFRESH : CC_ERROR;
}

/* What a readline user's fingers expect, beyond libedit's own emacs keys. */
static void bind_keys(EditLine *el)
{
    static const char *const KEYS[][2] = {
        {"^R", "em-inc-search-prev"},  {"^W", "ed-delete-prev-word"},
        {"^U", "vi-kill-line-prev"},   {"\033[3~", "ed-delete-next-char"},
        {"\033[H", "ed-move-to-beg"},  {"\033[F", "ed-move-to-end"},
        {"\033[1~", "ed-move-to-beg"}, {"\033[4~", "ed-move-to-end"},
        {"\033OH", "ed-move-to-beg"},  {"\033OF", "ed-move-to-end"},
        {"\033[1;5C", "em-next-word"}, {"\033[1;5D", "ed-prev-word"},
    };

    el_set(el, EL_EDITOR, "emacs");
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++)
        el_set(el, EL_BIND, KEYS[i][0], KEYS[i][1], NULL);
    /* The wide form, since libedit never frees the copies that the other makes. */
    el_wset(el, EL_ADDFN, L"rq-complete", L"complete a command", on_complete);
    el_set(el, EL_BIND, "^I", "rq-complete", NULL);
}

/* --- opening
 * ---------------------------------------------------------------------------------- */

static void recall_add(struct line *l, const char *text)
{
    HistEvent event;

    history(l->recall, &event, H_ENTER, text);
}

static enum err open_history(struct line *l, struct why *why)
{
    const char *home = getenv("HOME");
    HistEvent event;

    histfile_init(&l->kept, histfile_limit(getenv("RQLITE_HISTFILESIZE")));
    l->recall = history_init();
    if (!l->recall) return why_set(why, ERR_NOMEM, "out of memory");
    history(l->recall, &event, H_SETSIZE,
            l->kept.limit > 0 ? (int)l->kept.limit : HISTFILE_DEFAULT);
    history(l->recall, &event, H_SETUNIQUE, 1);
    if (!home || *home == '\0') return ERR_OK;
    if (asprintf(&l->histfile_path, "%s/.rqlite_history", home) < 0) {
        l->histfile_path = NULL;
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    histfile_load(&l->kept, l->histfile_path);
    for (size_t i = 0; i < l->kept.n; i++) recall_add(l, l->kept.lines[i]);
    return ERR_OK;
}

static enum err open_editor(struct line *l, struct why *why)
{
    enum err e = open_history(l, why);

    if (e) return e;
    l->el = el_init("rqlite", stdin, stdout, stderr);
    if (!l->el) return why_set(why, ERR_IO, "cannot set up the terminal");
    el_set(l->el, EL_CLIENTDATA, l);
    el_set(l->el, EL_PROMPT, on_prompt);
    el_set(l->el, EL_GETCFN, on_getc);
    el_set(l->el, EL_SIGNAL,
           1); /* Ctrl-Z and resizing; Ctrl-C is handed on to cancel.c */
    el_set(l->el, EL_HIST, history, l->recall);
    bind_keys(l->el);
    return ERR_OK;
}

enum err line_open(struct line **out, const char *const *words, struct why *why)
{
    struct line *l = calloc(1, sizeof(*l));
    enum err e = ERR_OK;

    if (!l) return why_set(why, ERR_NOMEM, "out of memory");
    l->words = words;
    l->terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (l->terminal) e = open_editor(l, why);
    if (e)
        line_close(l);
    else
        *out = l;
    return e;
}

void line_close(struct line *l)
{
    struct why why;

    if (!l) return;
    if (l->el) {
        el_end(l->el);
        if (l->histfile_path && histfile_save(&l->kept, l->histfile_path, &why))
            fprintf(stderr, "rqlite: history not saved: %s\n", why.text);
    }
    if (l->recall) history_end(l->recall);
    histfile_fini(&l->kept);
    free(l->histfile_path);
    free(l->text);
    free(l);
}

bool line_is_terminal(const struct line *l)
{
    return l->terminal;
}

/* --- reading
 * ---------------------------------------------------------------------------------- */

static enum line_event read_edited(struct line *l)
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct sigaction old_resize;
    const char *typed;
    sigset_t ours;
    int n = 0;

    sigemptyset(&ours);
    sigaddset(&ours, SIGTSTP);
    sigaddset(&ours, SIGWINCH);
    sigprocmask(SIG_BLOCK, &ours, &l->old_mask);
    sigaction(SIGTSTP, &action, &l->old_stop);
    sigaction(SIGWINCH, &action, &old_resize);
    el_resize(l->el);               /* it may have changed while a request ran */
    el_set(l->el, EL_PREP_TERM, 1); /* before the prompt: libedit does it after, and keys
                                       typed between get lost */
    typed = el_gets(l->el, &n);
    sigaction(SIGTSTP, &l->old_stop, NULL);
    sigaction(SIGWINCH, &old_resize, NULL);
    sigprocmask(SIG_SETMASK, &l->old_mask, NULL);

    if (cancel_wished()) {
        cancel_clear();
        el_reset(l->el);
        fputs("^C\n", stdout);
        return LINE_CANCELLED;
    }
    if (!typed || n <= 0) {
        putchar('\n');
        return LINE_END;
    }
    free(l->text);
    l->text = strdup(typed);
    return l->text ? LINE_READ : LINE_END;
}

static enum line_event read_plain(struct line *l)
{
    fputs(l->prompt, stdout);
    fflush(stdout);
    if (getline(&l->text, &l->cap, stdin) >= 0) return LINE_READ;
    return cancel_wished() ? LINE_CANCELLED : LINE_END;
}

static char *trim(char *text)
{
    size_t n;

    while (isspace((unsigned char)*text)) text++;
    for (n = strlen(text); n > 0 && isspace((unsigned char)text[n - 1]); n--) continue;
    text[n] = '\0';
    return text;
}

enum line_event line_next(struct line *l, const char *prompt, const char **out)
{
    enum line_event event;

    l->prompt = prompt;
    event = l->el ? read_edited(l) : read_plain(l);
    if (event != LINE_READ) return event;
    *out = trim(l->text);
    if (l->el && histfile_add(&l->kept, *out)) recall_add(l, *out);
    return LINE_READ;
}

bool line_password(const char *prompt, char *out, size_t size)
{
    struct termios before, silent;
    bool ok;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) < 0) return false;
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    fputs(prompt, stdout);
    fflush(stdout);
    ok = fgets(out, (int)size, stdin) != NULL && !cancel_wished();
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    putchar('\n');
    if (ok) out[strcspn(out, "\r\n")] = '\0';
    return ok;
}
