/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/server/options.h"

#define SECOND 1000000000LL

/* One command line and what became of it. */
static struct parsed {
    struct options o;
    struct options_end end;
    enum err e;
} p;

static void parse_words(const char *const *words)
{
    static const char *argv[32];
    int argc = 1;

    options_end_fini(&p.end);
    options_end_init(&p.end);
    argv[0] = "rqlited";
    for (; *words; words++) argv[argc++] = *words;
    argv[argc] = NULL;
    p.e = options_parse(&p.o, argc, argv, &p.end);
}
#define parse(...) parse_words((const char *const[]){__VA_ARGS__, NULL})

static const char *err_text(void)
{
    buf_append_u8(&p.end.err, '\0');
    buf_truncate(&p.end.err, p.end.err.len - 1);
    return (const char *)p.end.err.data;
}

/* Refused with exactly this on stderr. */
static void assert_fatal(const char *text)
{
    char line[600];

    snprintf(line, sizeof line, "fatal: %s\n", text);
    assert_int_equal(p.e, ERR_INVALID);
    assert_string_equal(err_text(), line);
    assert_int_equal(p.end.status, 1);
    assert_string_equal(p.end.log_fatal.text, "");
    assert_int_equal(p.end.out.len, 0);
}

static void assert_log_fatal(const char *text)
{
    assert_int_equal(p.e, ERR_INVALID);
    assert_string_equal(p.end.log_fatal.text, text);
    assert_int_equal(p.end.err.len, 0);
    assert_int_equal(p.end.status, 1);
}

/* Refused with this line, the usage behind it, and status 2. */
static void assert_usage_error(const char *line)
{
    size_t n = strlen(line);

    assert_int_equal(p.e, ERR_INVALID);
    assert_int_equal(p.end.status, 2);
    assert_memory_equal(err_text(), line, n);
    assert_memory_equal(err_text() + n, "\n\nrqlite is ", 12);
}

static void assert_fine(void)
{
    if (p.e)
        print_message("%s%s\n", p.end.err.len ? err_text() : "", p.end.log_fatal.text);
    assert_int_equal(p.e, ERR_OK);
    assert_int_equal(p.end.err.len, 0);
}

/* --- grammar ---------------------------------------------------------------------- */

static void one_or_two_dashes_and_both_value_forms(void **state)
{
    (void)state;
    parse("-node-id", "n1", "--http-addr=h:1", "--raft-addr", "h:2",
          "-http-allow-origin=*", "d");
    assert_fine();
    assert_string_equal(p.o.node_id, "n1");
    assert_string_equal(p.o.http_addr, "h:1");
    assert_string_equal(p.o.raft_addr, "h:2");
    assert_string_equal(p.o.http_allow_origin, "*");
    assert_string_equal(p.o.data_dir, "d");
    parse("-node-id=", "d"); /* an empty value is a value */
    assert_fine();
    assert_string_equal(p.o.node_id, "");
    parse("-node-id", "-x",
          "d"); /* the word after a flag is its value, whatever it looks like */
    assert_fine();
    assert_string_equal(p.o.node_id, "-x");
    parse("-node-id=a=b", "d");
    assert_string_equal(p.o.node_id, "a=b");
}

static void a_boolean_never_takes_the_next_word(void **state)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    char word[32];

    (void)state;
    parse("-fk", "d");
    assert_fine();
    assert_true(p.o.fk);
    assert_string_equal(p.o.data_dir, "d");
    parse("-raft-shutdown-stepdown", "d");
    assert_fine();
    assert_true(p.o.raft_shutdown_stepdown);
    for (size_t i = 0; i < 6; i++) {
        snprintf(word, sizeof word, "-fk=%s", yes[i]);
        parse(word, "d");
        assert_fine();
        assert_true(p.o.fk);
        snprintf(word, sizeof word, "--fk=%s", no[i]);
        parse("-fk", word, "d");
        assert_fine();
        assert_false(p.o.fk);
    }
    parse("-fk=maybe", "d");
    assert_usage_error("invalid boolean value \"maybe\" for -fk: parse error");
    parse("-fk=", "d");
    assert_usage_error("invalid boolean value \"\" for -fk: parse error");
    parse("-fk=tRUE", "d");
    assert_usage_error("invalid boolean value \"tRUE\" for -fk: parse error");
}

static void integers_in_every_base(void **state)
{
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {
        {"100", 100},
        {"0x1F", 31},
        {"0X1f", 31},
        {"0o17", 15},
        {"017", 15},
        {"0b101", 5},
        {"0B11", 3},
        {"1_000", 1000},
        {"0x_ff", 255},
        {"0_17", 15},
        {"0b1_0", 2},
        {"18446744073709551615", UINT64_MAX},
        {"0xffffffffffffffff", UINT64_MAX},
    };
    static const char *const bad[] = {
        "abc",  "1.5", "",   "+1", "-1",  "_1", "1_", "1__0", "0x",  "0xg1", "0b12",
        "0o18", "08",  "1 ", " 1", "1e3", "0b", "0o", "0x_",  "--1", "0x1_"};
    char line[200];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        parse("-raft-snap", good[i].text, "d");
        assert_fine();
        assert_true(p.o.raft_snap == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        parse("-raft-snap", bad[i], "d");
        snprintf(line, sizeof line,
                 "invalid value \"%s\" for flag -raft-snap: parse error", bad[i]);
        assert_usage_error(line);
    }
    parse("-raft-snap=18446744073709551616", "d");
    assert_usage_error(
        "invalid value \"18446744073709551616\" for flag -raft-snap: value out of range");
    parse("-db-max-ro-conns=9223372036854775808", "d");
    assert_usage_error("invalid value \"9223372036854775808\" for flag -db-max-ro-conns: "
                       "value out of range");
    parse("-db-max-ro-conns=-9223372036854775808", "d");
    assert_fine();
    assert_true(p.o.db_max_ro_conns == INT64_MIN);
    parse("-db-max-ro-conns=+0x10", "d");
    assert_fine();
    assert_int_equal(p.o.db_max_ro_conns, 16);
    parse("-db-max-ro-conns=", "d");
    assert_usage_error("invalid value \"\" for flag -db-max-ro-conns: parse error");
}

static void durations_have_units(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {
        {"1h30m", 5400 * SECOND},
        {"0.5s", SECOND / 2},
        {"50ms", SECOND / 20},
        {"+10s", 10 * SECOND},
        {"1m.5s", 60 * SECOND + SECOND / 2},
        {"100000us", SECOND / 10},
        {"100000\u00b5s", SECOND / 10},
        {"7000000ns", 7000000},
    };
    static const char *const bad[] = {"10", "abc", "",  "s",  "1 s",
                                      "1d", "1s ", "-", ".s", "1h-5m"};
    char line[200];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        parse("-raft-snap-int", good[i].text, "d");
        assert_fine();
        assert_true(p.o.raft_snap_int_ns == good[i].ns);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        parse("-raft-snap-int", bad[i], "d");
        snprintf(line, sizeof line,
                 "invalid value \"%s\" for flag -raft-snap-int: parse error", bad[i]);
        assert_usage_error(line);
    }
    parse("-write-queue-timeout", "0", "d");
    assert_fine();
    assert_int_equal(p.o.write_queue_timeout_ns, 0);
}

static void the_last_of_a_repeated_flag_wins(void **state)
{
    (void)state;
    parse("-http-addr", "a:1", "-fk", "d", "-http-addr=b:2", "--fk=false");
    assert_fine();
    assert_string_equal(p.o.http_addr, "b:2");
    assert_false(p.o.fk);
}

static void flags_stand_on_either_side_of_the_directory(void **state)
{
    (void)state;
    parse("node1", "-on-disk");
    assert_fine();
    assert_true(p.o.on_disk);
    assert_string_equal(p.o.data_dir, "node1");
    parse("-on-disk", "node1", "-node-id", "7", "-fk");
    assert_fine();
    assert_true(p.o.on_disk && p.o.fk);
    assert_string_equal(p.o.node_id, "7");
}

static void two_dashes_end_the_flags(void **state)
{
    (void)state;
    parse("-fk", "--", "-on-disk");
    assert_fine();
    assert_true(p.o.fk);
    assert_false(p.o.on_disk);
    assert_string_equal(p.o.data_dir, "-on-disk");
    parse("d", "--");
    assert_fine();
    parse("d", "--", "-fk", "x y");
    assert_fatal("arguments after data directory (d) are not accepted ([-fk x y])");
    parse("-");
    assert_fine();
    assert_string_equal(p.o.data_dir, "-");
}

static void surplus_words_are_refused(void **state)
{
    (void)state;
    parse("d1", "d2");
    assert_fatal("arguments after data directory (d1) are not accepted ([d2])");
    parse("-fk", "d1", "d2", "-on-disk", "d3");
    assert_fatal("arguments after data directory (d1) are not accepted ([d2 d3])");
    parse("-fk", "d1", "true"); /* a boolean takes no word */
    assert_fatal("arguments after data directory (d1) are not accepted ([true])");
}

static void wrong_flags_give_usage_and_status_2(void **state)
{
    (void)state;
    parse("-bogus", "d");
    assert_usage_error("flag provided but not defined: -bogus");
    parse("d", "--bogus=3");
    assert_usage_error("flag provided but not defined: -bogus");
    parse("-node-i", "1", "d");
    assert_usage_error("flag provided but not defined: -node-i");
    parse("d", "-node-id");
    assert_usage_error("flag needs an argument: -node-id");
    parse("d", "--raft-snap");
    assert_usage_error("flag needs an argument: -raft-snap");
    parse("-raft-snap", "abc", "d");
    assert_usage_error("invalid value \"abc\" for flag -raft-snap: parse error");
    parse("-raft-snap", "a\"\\\n\x01", "d");
    assert_usage_error(
        "invalid value \"a\\\"\\\\\\n\\x01\" for flag -raft-snap: parse error");
    parse("---x", "d");
    assert_usage_error("bad flag syntax: ---x");
    parse("-=x", "d");
    assert_usage_error("bad flag syntax: -=x");
    parse("--=x", "d");
    assert_usage_error("bad flag syntax: --=x");
    parse("-bogus", "-fk=maybe"); /* the first error counts */
    assert_usage_error("flag provided but not defined: -bogus");
}

static void help_is_the_usage_where_parsing_meets_it(void **state)
{
    static const char *const words[] = {"-h", "--h", "-help", "--help", "-h=1"};

    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        parse(words[i], "-bogus");
        assert_int_equal(p.e, ERR_NOTHING);
        assert_int_equal(p.end.status, 0);
        assert_int_equal(p.end.out.len, 0);
        assert_memory_equal(err_text(), "\nrqlite is ", 11);
    }
    parse("-bogus", "-h");
    assert_usage_error("flag provided but not defined: -bogus");
}

static void version_comes_before_other_checks(void **state)
{
    (void)state;
    parse("-version");
    assert_int_equal(p.e, ERR_NOTHING);
    assert_true(p.end.version);
    assert_int_equal(p.end.status, 0);
    parse("--version=true", "d1", "d2", "-http-cert", "x", "-raft-reap-node-timeout=0");
    assert_int_equal(p.e, ERR_NOTHING);
    assert_true(p.end.version);
    parse("-version", "-bogus");
    assert_usage_error("flag provided but not defined: -bogus");
    parse("-version=false", "d");
    assert_fine();
}

static void a_data_directory_is_required(void **state)
{
    (void)state;
    parse_words((const char *const[]){NULL});
    assert_log_fatal(
        "failed to parse command-line flags: missing required argument: DataPath");
    parse("-fk");
    assert_fatal("data directory path is required");
    parse("");
    assert_fatal("data directory path is required");
    parse(" \t");
    assert_fatal("data directory path is required");
    parse("--");
    assert_fatal("data directory path is required");
}

/* --- texts ------------------------------------------------------------------------ */

static void usage_lists_flags_by_name(void **state)
{
    const char *text, *last = NULL, *line;
    size_t n = 0;

    (void)state;
    parse("-h");
    text = err_text();
    assert_non_null(strstr(
        text,
        "\n\nUsage: rqlited [flags] <data directory>\n  -access-log string\n    \t"));
    assert_non_null(
        strstr(text, "\n  -raft-snap uint\n    \tNumber of outstanding log entries which "
                     "triggers Raft snapshot (default 8192)\n"));
    assert_non_null(strstr(text, "\n  -fk\n    \tEnable SQLite"));
    assert_non_null(strstr(text, " (default \"localhost:4001\")\n"));
    assert_non_null(strstr(text, "Longest wait for them (default 2m0s)\n"));
    assert_non_null(strstr(text, "(default 24h0m0s)\n"));
    assert_non_null(strstr(text, "\n  -write-queue-timeout duration\n"));
    assert_non_null(strstr(text, "(default 50ms)\n"));
    assert_non_null(strstr(text, "(default true)\n"));
    assert_null(strstr(text, "(default false)"));
    assert_null(strstr(text, "(default 0"));
    assert_null(strstr(text, "(default \"\")"));
    assert_non_null(strstr(text, "\n  -tls1011\n    \tLegacy: "));
    assert_null(strstr(text, "-man"));
    for (line = strstr(text, "\n  -"); line; line = strstr(line + 1, "\n  -"), n++) {
        if (last) assert_true(strcmp(last, line) < 0);
        last = line;
    }
    assert_true(n > 80);
    assert_int_equal(text[strlen(text) - 1], '\n');
}

static void man_page_and_markdown_come_from_the_same_rows(void **state)
{
    char *text;

    (void)state;
    parse("-man");
    assert_int_equal(p.e, ERR_NOTHING);
    assert_int_equal(p.end.err.len, 0);
    buf_append_u8(&p.end.out, '\0');
    text = (char *)p.end.out.data;
    assert_memory_equal(text, ".TH RQLITED 8 ", 14);
    assert_non_null(strstr(
        text, ".TP\n.BR \\-raft\\-snap \" \" \\fIuint\\fR\nNumber of outstanding"));
    parse("-flags-markdown");
    assert_int_equal(p.e, ERR_NOTHING);
    buf_append_u8(&p.end.out, '\0');
    text = (char *)p.end.out.data;
    assert_non_null(
        strstr(text, "\n| `-raft-snap` | uint | `8192` | Number of outstanding"));
    parse("-man", "d"); /* hidden: only alone */
    assert_usage_error("flag provided but not defined: -man");
}

/* --- values ----------------------------------------------------------------------- */

static void defaults(void **state)
{
    (void)state;
    parse("d");
    assert_fine();
    assert_string_equal(p.o.http_addr, "localhost:4001");
    assert_string_equal(p.o.http_adv_addr, "localhost:4001");
    assert_string_equal(p.o.raft_addr, "localhost:4002");
    assert_string_equal(p.o.raft_adv_addr, "localhost:4002");
    assert_string_equal(p.o.raft_log_level, "WARN");
    assert_string_equal(p.o.node_id, "");
    assert_int_equal(p.o.db_max_ro_conns, 256);
    assert_true(p.o.auto_optimize_int_ns == 24 * 3600 * SECOND);
    assert_true(p.o.raft_heartbeat_timeout_ns == SECOND);
    assert_true(p.o.raft_election_timeout_ns == SECOND);
    assert_true(p.o.raft_leader_lease_timeout_ns == SECOND / 2);
    assert_true(p.o.raft_commit_timeout_ns == SECOND / 20);
    assert_true(p.o.raft_apply_timeout_ns == 10 * SECOND);
    assert_int_equal(p.o.raft_snap, 8192);
    assert_int_equal(p.o.raft_snap_wal_size, 4194304);
    assert_true(p.o.raft_snap_int_ns == 10 * SECOND);
    assert_true(p.o.raft_shutdown_stepdown && p.o.expvar && p.o.pprof);
    assert_false(p.o.on_disk || p.o.fk || p.o.write_queue_tx);
    assert_int_equal(p.o.write_queue_capacity, 1024);
    assert_int_equal(p.o.write_queue_batch_size, 128);
    assert_true(p.o.write_queue_timeout_ns == SECOND / 20);
    assert_int_equal(p.o.join_attempts, 5);
}

static void zero_means_the_library_default(void **state)
{
    (void)state;
    parse("-raft-heartbeat-timeout=0", "-raft-election-timeout=0",
          "-raft-commit-timeout=0", "-raft-leader-lease-timeout=0", "-raft-snap=0",
          "-raft-snap-int=0", "d");
    assert_fine();
    assert_true(p.o.raft_heartbeat_timeout_ns == SECOND);
    assert_true(p.o.raft_election_timeout_ns == SECOND);
    assert_true(p.o.raft_commit_timeout_ns == SECOND / 20);
    assert_true(p.o.raft_leader_lease_timeout_ns == SECOND / 2);
    assert_int_equal(p.o.raft_snap, 8192);
    assert_true(p.o.raft_snap_int_ns == 120 * SECOND);
    assert_int_equal(p.o.raft_snap_wal_size, 0);
}

static void the_old_name_of_the_heartbeat_gives_way(void **state)
{
    (void)state;
    parse("-raft-timeout=700ms", "d");
    assert_fine();
    assert_true(p.o.raft_heartbeat_timeout_ns == 700 * SECOND / 1000);
    parse("-raft-heartbeat-timeout=800ms", "-raft-timeout=700ms", "d");
    assert_fine();
    assert_true(p.o.raft_heartbeat_timeout_ns == 800 * SECOND / 1000);
}

static void flags_without_effect_are_named(void **state)
{
    size_t pos = 0;

    (void)state;
    parse("-tls1011", "-fk", "-dsn", "x", "-cpu-profile=f", "-compression-size=3", "d");
    assert_fine();
    assert_string_equal(options_next_without_effect(&p.o, &pos), "cpu-profile");
    assert_string_equal(options_next_without_effect(&p.o, &pos), "tls1011");
    assert_string_equal(options_next_without_effect(&p.o, &pos), "compression-size");
    assert_string_equal(options_next_without_effect(&p.o, &pos), "dsn");
    assert_null(options_next_without_effect(&p.o, &pos));
    parse("-raft-open-timeout", "x", "d"); /* their type is checked all the same */
    assert_usage_error("invalid value \"x\" for flag -raft-open-timeout: parse error");
}

/* --- availability ----------------------------------------------------------------- */

static void what_comes_later_is_refused(void **state)
{
    (void)state;
    parse("-cdc-config=stdout", "d");
    assert_fatal("-cdc-config is not available yet");
    parse("-otlp-endpoint=h:1", "d");
    assert_fatal("-otlp-endpoint is not available yet");
    parse("-disco-mode=consul-kv", "d");
    assert_fatal("-disco-mode is not available yet");
}

static void a_flag_at_its_default_or_off_is_fine(void **state)
{
    (void)state;
    parse("-join=", "-join-attempts=5", "-join-interval=3s", "-bootstrap-expect=0",
          "-auth=", "-auto-vacuum-int=0s", "-auto-optimize-int=24h0m",
          "-raft-non-voter=false", "-disco-key=rqlite", "-otlp-interval=30s",
          "-raft-remove-shutdown=f", "-cluster-connect-timeout=30000ms",
          "-disco-mode=", "d");
    assert_fine();
    parse("-auto-optimize-int=0", "d");
    assert_fine();
}

static void the_discovery_service_is_gone(void **state)
{
    (void)state;
    parse("-disco-id=x", "d");
    assert_fatal("-disco-id is no longer supported, its discovery service is gone; use "
                 "-disco-mode "
                 "instead");
    parse("-disco-url=http://x", "d");
    assert_fatal("-disco-url is no longer supported, its discovery service is gone; use "
                 "-disco-mode instead");
}

/* --- checks ----------------------------------------------------------------------- */

static void reap_timeouts_must_be_positive(void **state)
{
    (void)state;
    parse("-raft-reap-node-timeout=0", "d1", "d2"); /* before surplus words */
    assert_fatal("-raft-reap-node-timeout must be greater than 0");
    parse("-raft-reap-read-only-node-timeout=-1s", "d");
    assert_fatal("-raft-reap-read-only-node-timeout must be greater than 0");
}

static void paths_are_checked(void **state)
{
    (void)state;
    parse("-extensions-path", "/nowhere/x", "d");
    assert_fatal("extension path does not exist: /nowhere/x");
    parse("-extensions-path", "/, /nowhere/y", "d");
    assert_fatal("extension path does not exist: /nowhere/y");
    parse("-extensions-path", "/,/", "d");
    assert_fine();
    parse("-on-disk-path", "f", "d");
    assert_fatal("-on-disk-path is set, but -on-disk is not");
    parse("-on-disk-path", "f", "-on-disk", "d");
    assert_fine();
    parse("-auth", "/nowhere/a", "d");
    assert_fatal("/nowhere/a does not exist");
    parse("-auto-backup", "/nowhere/b", "d");
    assert_fatal("/nowhere/b does not exist");
    parse("-http-cert", "/nowhere/c", "-http-key", "/", "d");
    assert_fatal("/nowhere/c does not exist");
    parse("-node-ca-cert", "/nowhere/d", "d");
    assert_fatal("/nowhere/d does not exist");
}

static void tls_flags_come_in_pairs(void **state)
{
    (void)state;
    parse("-http-cert", "x", "d");
    assert_fatal("either both -http-cert and -http-key must be set, or neither");
    parse("-http-key", "x", "d");
    assert_fatal("either both -http-cert and -http-key must be set, or neither");
    parse("-node-key", "x", "d");
    assert_fatal("either both -node-cert and -node-key must be set, or neither");
    parse("-http-verify-common-name", "x", "d");
    assert_fatal("-http-verify-common-name requires -http-verify-client");
    parse("-node-verify-common-name", "x", "d");
    assert_fatal("-node-verify-common-name requires -node-verify-client");
}

static void addresses_are_checked(void **state)
{
    (void)state;
    parse("-http-addr=h:1", "-raft-addr=h:1", "d");
    assert_fatal("HTTP and Raft addresses must differ");
    parse("-http-addr=http://h:1", "d");
    assert_fatal("HTTP options should not include protocol (http:// or https://)");
    parse("-http-adv-addr=HTTPS://h:1", "d");
    assert_fatal("HTTP options should not include protocol (http:// or https://)");
    parse("-http-addr=h", "d");
    assert_fatal("HTTP bind address not valid");
    parse("-http-addr=::1:4001", "d");
    assert_fatal("HTTP bind address not valid");
    parse("-http-addr=[::1:4001", "d");
    assert_fatal("HTTP bind address not valid");
    parse("-http-adv-addr=h", "d");
    assert_fatal("HTTP advertised HTTP address not valid");
    parse("-http-addr=0.0.0.0:4001", "d");
    assert_fatal(
        "advertised HTTP address is not routable (0.0.0.0), specify it via -http-addr or "
        "-http-adv-addr");
    parse("-http-addr=[::]:4001", "d");
    assert_fatal(
        "advertised HTTP address is not routable (::), specify it via -http-addr or "
        "-http-adv-addr");
    parse("-raft-addr=h", "d");
    assert_fatal("raft bind address not valid");
    parse("-raft-addr=h:x", "d");
    assert_fatal("raft bind port not valid");
    parse("-raft-addr=h:", "d");
    assert_fatal("raft bind port not valid");
    parse("-raft-adv-addr=h", "d");
    assert_fatal("raft advertised address not valid");
    parse("-raft-addr=0.0.0.0:4002", "d");
    assert_fatal(
        "advertised Raft address is not routable (0.0.0.0), specify it via -raft-addr or "
        "-raft-adv-addr");
    parse("-raft-adv-addr=h:x", "d");
    assert_fatal("raft advertised port is not valid");
    parse("-raft-adv-addr=h:1", "-http-adv-addr=h:1", "d");
    assert_fatal("advertised HTTP and Raft addresses must differ");
    parse("-http-addr=0.0.0.0:4001", "-http-adv-addr=h:4001", "-raft-addr=[::1]:4002",
          "d");
    assert_fine();
    parse("-raft-addr", ":4004", "d"); /* an empty host passes */
    assert_fine();
    assert_string_equal(p.o.raft_adv_addr, ":4004");
}

static void joining_is_checked(void **state)
{
    (void)state;
    parse("-bootstrap-expect=3", "-raft-non-voter", "d");
    assert_fatal("bootstrapping only applicable to voting nodes");
    parse("-join=h:1,foo", "d");
    assert_fatal("foo is an invalid join address");
    parse("-join=http://h:1/x", "d");
    assert_fatal("http://h:1/x is an invalid join address");
    parse("-join=localhost:4002", "d");
    assert_fatal("node cannot join with itself unless bootstrapping");
    parse("-join=http://localhost:4001", "d");
    assert_fatal("node cannot join with itself unless bootstrapping");
    parse("-join=https://u:p@localhost/", "d");
    assert_fatal("node cannot join with itself unless bootstrapping");
    parse("-raft-adv-addr=me:1", "-join=a:1,me:1", "d");
    assert_fatal("node cannot join with itself unless bootstrapping");
    parse("-join=localhost:4002", "-bootstrap-expect=1", "d");
    assert_fine();
    parse("-join=http://u:p@h,https://h:1/, [::1]:4003 ", "-raft-non-voter", "d");
    assert_fine();
    parse("-raft-reap-node-timeout=1h", "-raft-remove-shutdown", "d");
    assert_fine();
    parse("-join-source-ip=zz", "d");
    assert_fatal("invalid join source IP address: zz");
    parse("-join=h:1", "-auto-restore=/", "d");
    assert_fatal("auto-restoring cannot be used when joining a cluster");
    parse("-join=h:1", "-disco-mode=dns", "d");
    assert_fatal("disco mode cannot be used when also explicitly joining a cluster");
    parse("-cdc-config=stdout", "-raft-non-voter", "d");
    assert_fatal("CDC cannot be enabled on non-voting nodes");
}

static void otlp_is_checked(void **state)
{
    (void)state;
    parse("-otlp-cert=x", "d");
    assert_fatal("either both -otlp-cert and -otlp-key must be set, or neither");
    parse("-otlp-insecure", "d");
    assert_fatal("OTLP options require -otlp-endpoint");
    parse("-otlp-endpoint=http://h:1", "d");
    assert_fatal("-otlp-endpoint must not include a protocol scheme");
    parse("-otlp-endpoint=h", "d");
    assert_fatal("-otlp-endpoint is not a valid address");
    parse("-otlp-endpoint=h:1", "-otlp-interval=0", "d");
    assert_fatal("-otlp-interval must be greater than zero");
    parse("-otlp-endpoint=h:1", "-otlp-insecure", "-otlp-no-verify", "d");
    assert_fatal("-otlp-insecure cannot be used with other OTLP TLS options");
}

static void discovery_is_checked(void **state)
{
    (void)state;
    parse("-disco-mode=consul-kv", "-bootstrap-expect=3", "d");
    assert_fatal("bootstrapping not applicable when using consul-kv");
    parse("-disco-mode=etcd-kv", "-bootstrap-expect=3", "d");
    assert_fatal("bootstrapping not applicable when using etcd-kv");
    parse("-disco-mode=dns", "d");
    assert_fatal("bootstrap-expect value required when using dns with a voting node");
    parse("-disco-mode=dns-srv", "d");
    assert_fatal("bootstrap-expect value required when using dns-srv with a voting node");
    parse("-disco-mode=carrier-pigeon", "d");
    assert_fatal("disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv");
}

static void queue_sizes_are_checked(void **state)
{
    (void)state;
    parse("-write-queue-capacity=0", "d");
    assert_fatal("-write-queue-capacity must be greater than 0");
    parse("-write-queue-batch-size=-1", "d");
    assert_fatal("-write-queue-batch-size must be greater than 0");
    parse("-write-queue-timeout=-1s", "d");
    assert_fatal("-write-queue-timeout must not be negative");
}

static void the_first_failed_check_is_reported(void **state)
{
    (void)state;
    parse("-http-cert=x", "-http-addr=h", "-bootstrap-expect=3", "-raft-non-voter", "d");
    assert_fatal("either both -http-cert and -http-key must be set, or neither");
    parse("-http-addr=http", "-raft-addr=http", "d");
    assert_fatal("HTTP and Raft addresses must differ");
    parse("-raft-heartbeat-timeout=1ms", "-disco-mode=x", "d");
    assert_fatal("disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv");
}

static void limits_of_http_are_checked(void **state)
{
    static const struct {
        const char *flag, *value, *words;
    } rows[] = {
        {"-http-max-header-bytes", "1023",
         "-http-max-header-bytes must be at least 1024"},
        {"-http-max-body-bytes", "0", "-http-max-body-bytes must be greater than 0"},
        {"-http-header-timeout", "0s", "HTTP timeouts must be at least 1ms"},
        {"-http-idle-timeout", "-1s", "HTTP timeouts must be at least 1ms"},
        {"-http-stall-timeout", "10us", "HTTP timeouts must be at least 1ms"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        parse(rows[i].flag, rows[i].value, "data");
        assert_int_equal(p.end.status, 1);
        assert_non_null(strstr(err_text(), rows[i].words));
    }
}

static void raft_timings_are_checked(void **state)
{
    static const struct {
        const char *flags[3];
        const char *text;
    } rows[] = {
        {{"-raft-heartbeat-timeout=4ms"}, "HeartbeatTimeout is too low"},
        {{"-raft-timeout=-1s"}, "HeartbeatTimeout is too low"},
        {{"-raft-election-timeout=4ms"}, "ElectionTimeout is too low"},
        {{"-raft-commit-timeout=999us"}, "CommitTimeout is too low"},
        {{"-raft-snap-int=4999us"}, "SnapshotInterval is too low"},
        {{"-raft-leader-lease-timeout=1ms"}, "LeaderLeaseTimeout is too low"},
        {{"-raft-leader-lease-timeout=5s"},
         "LeaderLeaseTimeout (5s) cannot be larger than heartbeat timeout (1s)"},
        {{"-raft-heartbeat-timeout=200ms"},
         "LeaderLeaseTimeout (500ms) cannot be larger than heartbeat timeout (200ms)"},
        {{"-raft-election-timeout=500ms"},
         "ElectionTimeout (500ms) must be equal or greater than Heartbeat Timeout (1s)"},
    };
    char text[300];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        parse(rows[i].flags[0], "d");
        snprintf(text, sizeof text,
                 "failed to open store: creating the raft system failed: %s",
                 rows[i].text);
        assert_log_fatal(text);
    }
    parse("-raft-heartbeat-timeout=5ms", "-raft-election-timeout=5ms",
          "-raft-leader-lease-timeout=5ms", "-raft-commit-timeout=1ms",
          "-raft-snap-int=5ms", "d");
    assert_fine();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_or_two_dashes_and_both_value_forms),
        cmocka_unit_test(a_boolean_never_takes_the_next_word),
        cmocka_unit_test(integers_in_every_base),
        cmocka_unit_test(durations_have_units),
        cmocka_unit_test(the_last_of_a_repeated_flag_wins),
        cmocka_unit_test(flags_stand_on_either_side_of_the_directory),
        cmocka_unit_test(two_dashes_end_the_flags),
        cmocka_unit_test(surplus_words_are_refused),
        cmocka_unit_test(wrong_flags_give_usage_and_status_2),
        cmocka_unit_test(help_is_the_usage_where_parsing_meets_it),
        cmocka_unit_test(version_comes_before_other_checks),
        cmocka_unit_test(a_data_directory_is_required),
        cmocka_unit_test(usage_lists_flags_by_name),
        cmocka_unit_test(man_page_and_markdown_come_from_the_same_rows),
        cmocka_unit_test(defaults),
        cmocka_unit_test(zero_means_the_library_default),
        cmocka_unit_test(the_old_name_of_the_heartbeat_gives_way),
        cmocka_unit_test(flags_without_effect_are_named),
        cmocka_unit_test(what_comes_later_is_refused),
        cmocka_unit_test(a_flag_at_its_default_or_off_is_fine),
        cmocka_unit_test(the_discovery_service_is_gone),
        cmocka_unit_test(reap_timeouts_must_be_positive),
        cmocka_unit_test(paths_are_checked),
        cmocka_unit_test(tls_flags_come_in_pairs),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(joining_is_checked),
        cmocka_unit_test(otlp_is_checked),
        cmocka_unit_test(discovery_is_checked),
        cmocka_unit_test(queue_sizes_are_checked),
        cmocka_unit_test(the_first_failed_check_is_reported),
        cmocka_unit_test(limits_of_http_are_checked),
        cmocka_unit_test(raft_timings_are_checked),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    options_end_fini(&p.end);
    return failed;
}
