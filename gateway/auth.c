/* SPDX-License-Identifier: MIT */
#include "gateway/auth.h"

#include <stddef.h>
#include <string.h>

#include "core/base/list.h"
#include "gateway/basic.h"
#include "gateway/server.h"

void auth_credentials(struct http_exchange *x, const char **user, const char **password)
{
    const char *header;

    if (!x->has_credentials) {
        x->has_credentials = true;
        header = http_header(&x->request, "Authorization");
        /* Too long ones are nobody's, and do not fit a call to the leader. */
        if (header && basic_parse(header, &x->arena, &x->user, &x->password) &&
            (strlen(x->user) > AUTH_USER_MAX || strlen(x->password) > AUTH_PASSWORD_MAX))
            x->user = x->password = NULL;
    }
    *user = x->user;
    *password = x->password;
}

struct question { /* in the exchange's arena, while a password is being hashed */
    struct auth_login login;
    struct mail mail;
    struct http_exchange *x; /* held */
    void (*then)(struct http_exchange *x, void *arg);
    void *arg;
};

static void deliver(struct mail *m, void *taker)
{
    struct question *q = LIST_ITEM(m, struct question, mail);
    struct http_exchange *x = q->x;

    (void)taker;
    x->granted = q->login.granted;
    if (!x->gone) q->then(x, q->arg);
    http_release(x);
}

static void on_done(struct auth_login *l)
{
    struct question *q = LIST_ITEM(l, struct question, login);

    q->mail.deliver = deliver;
    gateway_post(q->x->thread, &q->mail);
}

void auth_then(struct http_exchange *x, uint32_t wanted,
               void (*then)(struct http_exchange *x, void *arg), void *arg)
{
    struct auth *auth = x->thread->gateway->options.auth;
    const char *user = NULL, *password = NULL;
    struct question *q = NULL;
    enum auth_answer answer;

    if (auth && wanted) {
        auth_credentials(x, &user, &password);
        q = arena_calloc(&x->arena, 1, sizeof *q);
        if (q == NULL) {
            http_respond_text(x, 500, "out of memory");
            return;
        }
        *q = (struct question){.login.done = on_done, .x = x, .then = then, .arg = arg};
        http_hold(x); /* before it may come back */
    }
    answer = auth_ask(wanted ? auth : NULL, user, password, wanted, &x->granted,
                      q ? &q->login : NULL);
    if (answer == AUTH_LATER) return;
    if (answer == AUTH_NOW)
        then(x, arg);
    else
        http_respond_text(x, 503, "too many passwords are being checked");
    if (q) http_release(x);
}

bool auth_hopeless(struct http_exchange *x, uint32_t wanted)
{
    struct auth *auth = x->thread->gateway->options.auth;
    const char *user, *password;

    if (auth == NULL || wanted == 0) return false;
    auth_credentials(x, &user, &password);
    return auth_never(auth, user, password, wanted);
}
