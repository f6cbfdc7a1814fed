/* SPDX-License-Identifier: MIT */
/*
 * chinook: the Chinook music shop in an rqlite cluster, by librqlite.
 *
 *     chinook NODES load FILE        load chinook.sql, replacing nothing
 *     chinook NODES query SQL [ARG]  print rows; ARGs are its parameters, as text
 *     chinook NODES top              the five countries that buy most
 *     chinook NODES sell N           N invoices, one after the other: what came of each
 *     chinook NODES stock N          N tracks, 16 at a time, in an event loop
 *
 * NODES is "host:4002[,host:4002...]"; user and password come from RQLITE_USER and
 * RQLITE_PASSWORD.  Nodes with certificates: RQLITE_CA is the file of who signed them,
 * RQLITE_CERT and RQLITE_KEY are our own, RQLITE_SERVER_NAME is what they are made for,
 * if not the hosts' names; RQLITE_NO_VERIFY=1 takes any.
 * https://github.com/lerocha/chinook-database has the data.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rqlite.h>

static int complain(const struct rqlite_error *e)
{
    fprintf(stderr, "chinook: %s: %s%s\n", rqlite_code_text(e->code), e->text,
            e->unknown ? " (it may have been applied)" : "");
    return 1;
}

static void print_value(const struct rqlite_value *v)
{
    switch (v->type) {
    case RQLITE_NULL: printf("NULL"); break;
    case RQLITE_INTEGER: printf("%" PRId64, v->integer); break;
    case RQLITE_REAL: printf("%.15g", v->real); break;
    case RQLITE_TEXT: fwrite(v->data, 1, v->len, stdout); break;
    case RQLITE_BLOB: printf("<%zu bytes>", v->len); break;
    }
}

/* Print the answer as it comes; however large, one row at a time is in memory. */
static int print_answer(struct rqlite_call *call)
{
    struct rqlite_event e;
    struct rqlite_error error;
    int failed = 0;

    while (rqlite_next(call, &e) == RQLITE_OK) {
        switch (e.kind) {
        case RQLITE_COLUMNS:
            for (size_t i = 0; i < e.n_columns; i++)
                printf("%s%s", i ? "|" : "", e.columns[i].name);
            puts("");
            break;
        case RQLITE_ROW:
            for (size_t i = 0; i < e.n_columns; i++) {
                if (i) putchar('|');
                print_value(&e.values[i]);
            }
            puts("");
            break;
        case RQLITE_ROWS_END: break;
        case RQLITE_WRITTEN: printf("%" PRId64 " rows\n", e.rows_affected); break;
        case RQLITE_ERROR:
            fprintf(stderr, "chinook: %s\n", e.text);
            failed = 1;
            break;
        }
    }
    error = *rqlite_call_error(call);
    rqlite_free(call);
    return error.code ? complain(&error) : failed;
}

static int query(struct rqlite *db, const char *sql, char **args, size_t n)
{
    struct rqlite_param params[16];
    struct rqlite_statement s = {sql, params, n};
    struct rqlite_request r = {
        .statements = &s, .n_statements = 1, .level = RQLITE_LINEARIZABLE};
    struct rqlite_error error;
    struct rqlite_call *call;

    if (n > 16) n = s.n_params = 16;
    for (size_t i = 0; i < n; i++)
        params[i] = (struct rqlite_param){NULL, rqlite_text(args[i])};
    if (rqlite_query(&call, db, &r, &error)) return complain(&error);
    return print_answer(call);
}

static int load(struct rqlite *db, const char *path)
{
    struct rqlite_request r = {.timeout_ms = 120000};
    struct rqlite_error error;
    struct rqlite_call *call;
    FILE *f = fopen(path, "rb");
    char *sql = NULL;
    long len = -1;
    int failed;

    if (f && fseek(f, 0, SEEK_END) == 0) len = ftell(f);
    if (len >= 0) sql = malloc((size_t)len + 1);
    if (sql) rewind(f);
    if (sql == NULL || fread(sql, 1, (size_t)len, f) != (size_t)len) {
        perror(path);
        failed = 1;
    } else if (rqlite_script(&call, db, sql, (size_t)len, &r, &error)) {
        failed = complain(&error);
    } else {
        failed = print_answer(call);
    }
    free(sql);
    if (f) fclose(f);
    return failed;
}

/* --- writes, each of which counts ------------------------------------------------- */

static int sell(struct rqlite *db, int n)
{
    static const char sql[] = "INSERT INTO Invoice(CustomerId, InvoiceDate, "
                              "BillingCity, Total) VALUES(:who, :when, :number, 1.5)";

    for (int i = 1; i <= n; i++) {
        char number[32];
        struct rqlite_param params[] = {{"who", rqlite_integer(1 + i % 59)},
                                        {"when", rqlite_text("2030-01-01 00:00:00")},
                                        {"number", rqlite_null()}};
        struct rqlite_written written;
        struct rqlite_error error;

        snprintf(number, sizeof number, "sale %d", i);
        params[2].value = rqlite_text(number);
        if (!rqlite_write(db, &written, sql, params, 3, &error))
            printf("%d sold %" PRId64 "\n", i, written.last_insert_id);
        else if (error.unknown) /* look before asking the customer to pay again */
            printf("%d unknown %s\n", i, error.text);
        else
            printf("%d failed %s\n", i, error.text);
        fflush(stdout);
    }
    return 0;
}

/* --- many at a time, in an event loop --------------------------------------------- */

struct stock {
    struct rqlite *db;
    int to_start, under_way, stocked, failed;
};

static void start_one(struct stock *s);

static void on_ready(struct rqlite_call *call, void *arg)
{
    struct stock *s = arg;
    struct rqlite_event e;
    enum rqlite_code code;

    while ((code = rqlite_try_next(call, &e)) == RQLITE_OK) {
        s->stocked += e.kind == RQLITE_WRITTEN;
        s->failed += e.kind == RQLITE_ERROR;
    }
    if (code == RQLITE_AGAIN) return;
    if (code != RQLITE_DONE) {
        complain(rqlite_call_error(call));
        s->failed++;
    }
    rqlite_free(call);
    s->under_way--;
    start_one(s);
}

static void start_one(struct stock *s)
{
    struct rqlite_statement t = {
        .sql = "INSERT INTO Track(Name, MediaTypeId, Milliseconds, UnitPrice) "
               "VALUES('Silence', 1, 273000, 0.99)"};
    struct rqlite_request r = {
        .statements = &t, .n_statements = 1, .on_ready = on_ready, .arg = s};
    struct rqlite_call *call;

    if (s->to_start == 0) return;
    s->to_start--;
    if (rqlite_execute(&call, s->db, &r, NULL))
        s->failed++;
    else
        s->under_way++;
}

static int stock(struct rqlite *db, int n)
{
    struct stock s = {.db = db, .to_start = n};
    struct pollfd p = {.fd = rqlite_fd(db), .events = POLLIN};

    for (int i = 0; i < 16; i++) start_one(&s);
    while (s.under_way > 0) {
        poll(&p, 1, -1); /* beside whatever else the program waits for */
        rqlite_process(db);
    }
    printf("%d stocked, %d failed\n", s.stocked, s.failed);
    return s.failed > 0;
}

int main(int argc, char **argv)
{
    struct rqlite_options o = {.user = getenv("RQLITE_USER"),
                               .password = getenv("RQLITE_PASSWORD"),
                               .tls_ca = getenv("RQLITE_CA"),
                               .tls_cert = getenv("RQLITE_CERT"),
                               .tls_key = getenv("RQLITE_KEY"),
                               .tls_server_name = getenv("RQLITE_SERVER_NAME"),
                               .tls_no_verify = getenv("RQLITE_NO_VERIFY") != NULL};
    struct rqlite_error error;
    struct rqlite *db;
    const char *verb = argc > 2 ? argv[2] : "", *arg = argc > 3 ? argv[3] : NULL;
    int status;

    if (argc < 3) {
        fprintf(stderr, "usage: chinook NODES load FILE | query SQL [ARG...] | top | "
                        "sell N | stock N\n");
        return 2;
    }
    o.nodes = argv[1];
    if (rqlite_open(&db, &o, &error)) return complain(&error);
    if (arg && strcmp(verb, "load") == 0) {
        status = load(db, arg);
    } else if (arg && strcmp(verb, "query") == 0) {
        status = query(db, arg, argv + 4, (size_t)argc - 4);
    } else if (strcmp(verb, "top") == 0) {
        status = query(db,
                       "SELECT BillingCountry, ROUND(SUM(Total), 2) FROM Invoice "
                       "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5",
                       NULL, 0);
    } else if (arg && strcmp(verb, "sell") == 0) {
        status = sell(db, atoi(arg));
    } else if (arg && strcmp(verb, "stock") == 0) {
        status = stock(db, atoi(arg));
    } else {
        fprintf(stderr, "chinook: no such command: %s\n", verb);
        status = 2;
    }
    rqlite_close(db);
    return status;
}
