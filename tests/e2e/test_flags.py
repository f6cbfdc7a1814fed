"""The command line as a process: exit status and texts.  The grammar itself has unit tests."""
import os
import re
import subprocess

from conftest import RQLITED, free_ports, run

LOG = r"\[rqlited\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d "


def assert_fatal(result, text):
    assert result == (1, "", "fatal: %s\n" % text)


def assert_log_fatal(result, text):
    status, out, err = result
    assert (status, out) == (1, "")
    assert re.fullmatch(LOG + re.escape(text) + "\n", err), err


def test_without_arguments():
    assert_log_fatal(run(), "failed to parse command-line flags: missing required argument: DataPath")


def test_without_a_data_directory():
    assert_fatal(run("-fk"), "data directory path is required")
    assert_fatal(run("-fk", "  "), "data directory path is required")


def test_unknown_flag():
    status, out, err = run("-bogus", "d")
    assert (status, out) == (2, "")
    assert err.startswith("flag provided but not defined: -bogus\n")
    assert "\nUsage: rqlited [flags] <data directory>\n" in err


def test_bad_values():
    for args, line in [
        (["-raft-snap", "abc", "d"], 'invalid value "abc" for flag -raft-snap: parse error'),
        (["-fk=maybe", "d"], 'invalid boolean value "maybe" for -fk: parse error'),
        (["d", "-node-id"], "flag needs an argument: -node-id"),
        (["---x"], "bad flag syntax: ---x"),
    ]:
        status, out, err = run(*args)
        assert (status, out) == (2, "") and err.startswith(line + "\n"), err


def test_help():
    for word in ("-h", "-help", "--help"):
        status, out, err = run(word)
        assert (status, out) == (0, "")
        assert err.startswith("\nrqlite is ")
        assert "  -raft-snap uint\n    \tNumber of outstanding log entries which triggers Raft snapshot (default 8192)\n" in err


def test_version():
    status, out, err = run("-version")
    assert (status, out) == (0, "")
    assert re.fullmatch(r"rqlited v\d+\.\d+\.\d+\S* linux \w+ (gcc|clang)-\d+\.\d+ sqlite3\.\d+\.\d+ "
                        r"\(commit \w+, compiler (gcc|clang)\)\n", err), err


def test_two_data_directories():
    assert_fatal(run("d1", "-on-disk", "d2"), "arguments after data directory (d1) are not accepted ([d2])")


def test_a_flag_of_a_later_release_is_refused():
    assert_fatal(run("-cdc-config", "stdout", "d"), "-cdc-config is not available yet")


def test_checks_leave_nothing_behind(directory):
    data = os.path.join(directory, "d")
    assert_fatal(run("-http-cert", "x", data), "either both -http-cert and -http-key must be set, or neither")
    assert_log_fatal(
        run("-raft-heartbeat-timeout=200ms", data),
        "failed to open store: creating the raft system failed: "
        "LeaderLeaseTimeout (500ms) cannot be larger than heartbeat timeout (200ms)")
    assert not os.path.exists(data)


def test_man_page_is_roff(directory):
    status, out, err = run("-man")
    assert (status, err) == (0, "")
    assert out.startswith(".TH RQLITED 8") and out.count("\n.TP\n") > 80
    man = subprocess.run(["man", "-l", "--warnings", "-"], input=out.encode(), capture_output=True, check=False) \
        if any(os.access(os.path.join(p, "man"), os.X_OK) for p in os.environ["PATH"].split(":")) else None
    assert man is None or (man.returncode == 0 and not man.stderr), man.stderr


def test_flags_on_either_side_of_the_directory(node):
    http, raft = free_ports(2)
    node.http = http
    node.start(command=[RQLITED, "-http-addr", "127.0.0.1:%d" % http, node.data, "--node-id=left-and-right",
                        "-raft-addr=127.0.0.1:%d" % raft, "-on-disk"])
    status = node.get("/status").json
    assert status["store"]["node_id"] == "left-and-right"
    assert status["store"]["db_conf"]["memory"] is False


def test_flags_without_effect_are_logged(node):
    node.start("-tls1011", "-cpu-profile", "f")
    assert "flag -tls1011 has no effect in this version" in node.log()
    assert "flag -cpu-profile has no effect in this version" in node.log()
    assert not os.path.exists("f")


def test_defaults_given_explicitly_change_nothing(node):
    node.start("-join=", "-auto-optimize-int=24h", "-bootstrap-expect", "0", "-disco-mode=")


def test_legacy_routes_can_be_switched_off(node):
    node.start("-expvar=false", "-pprof=false")
    assert node.get("/debug/vars").status == 404
    assert node.get("/debug/pprof/").status == 404


def test_allow_origin(node):
    node.start("-http-allow-origin", "https://example.com")
    assert node.get("/status").headers["Access-Control-Allow-Origin"] == "https://example.com"


def test_foreign_keys(node):
    node.start("-fk")
    node.execute("CREATE TABLE p(id INTEGER PRIMARY KEY)", "CREATE TABLE c(p REFERENCES p(id))")
    assert node.execute("INSERT INTO c VALUES(7)", errors=True) == [{"error": "FOREIGN KEY constraint failed"}]
