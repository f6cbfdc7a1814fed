"""Starting, stopping and starting again: ports, data directory, node ID, modes, signals, log lines."""
import http.client
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

from conftest import PATIENCE, RQLITED, free_ports, wait_until

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


def slow_query(rows):
    return ENDLESS.replace("FROM c)", "FROM c LIMIT %d)" % rows)


def log_fatal(node, *flags, **more):
    """Launch a node that must refuse to start; the last line it wrote, without its prefix."""
    node.launch(*flags, **more)
    assert node.wait_end() == 1
    last = node.log().splitlines()[-1]
    assert re.match(r"\[rqlited\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", last), last
    return last.split(" ", 3)[3]


def make_foo(node, n=3):
    node.execute("CREATE TABLE foo(id INTEGER PRIMARY KEY, name TEXT)",
                 *["INSERT INTO foo(name) VALUES('row %d')" % i for i in range(n)])


# --- log lines -----------------------------------------------------------------------------------


def test_log_lines_of_a_first_start_in_order(node):
    node.start().stop()
    lines = node.log().splitlines()
    expected = [
        r"\[rqlited\] .* rqlited starting, version v\S+, SQLite 3\.\d+\.\d+, commit \w+, "
        r"compiler \(toolchain\) (gcc|clang), compiler \(command\) (gcc|clang)",
        r"\[rqlited\] .*target architecture is \w+, operating system target is linux",
        r"\[rqlited\] .* launch command: .*rqlited\S* -node-id 1 .*data",
        r"\[rqlited\] .* no preexisting node state detected in .*data, node may be bootstrapping",
        r"\[http\] .* service listening on 127\.0\.0\.1:%d" % node.http,
        r"\[store\] .* opening store with node ID 1, listening on 127\.0\.0\.1:%d" % node.raft,
        r"\[store\] .* ensuring data directory exists at .*data",
        r"\[rqlited\] .* bootstrapping single new node",
        r"\[store\] .* this node \(ID=1, addr=127\.0\.0\.1:%d\) is now Leader" % node.raft,
        r"\[rqlited\] .* node HTTP API available at http://127\.0\.0\.1:%d" % node.http,
        r"\[rqlited\] .* connect using the command-line tool via 'rqlite -H 127\.0\.0\.1 -p %d'" % node.http,
        r"\[rqlited\] .* visit the rqlite console for this node at http://127\.0\.0\.1:%d/console/" % node.http,
        r'\[rqlited\] .* received signal "terminated"',
        r"\[http\] .* closing HTTP service on 127\.0\.0\.1:%d" % node.http,
        r"\[store\] .* store closed with node ID 1, listening on 127\.0\.0\.1:%d" % node.raft,
        r"\[rqlited\] .* rqlite server stopped",
    ]
    at = 0
    for pattern in expected:
        found = [i for i in range(at, len(lines)) if re.fullmatch(pattern, lines[i])]
        assert found, "after line %d no %r in\n%s" % (at, pattern, "\n".join(lines))
        at = found[0] + 1
    for line in lines:
        assert re.match(r"\[[a-z-]+\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d \S", line), line


def test_log_lines_of_a_restart(node):
    node.start().restart()
    assert "preexisting node state detected in " in node.log()
    assert "no preexisting" not in node.log()
    assert "bootstrapping" not in node.log()


def test_the_banner_goes_to_stdout_only(node):
    p = subprocess.Popen(node.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    node.process = p
    node.wait_ready()
    p.send_signal(signal.SIGTERM)
    out, err = p.communicate(timeout=PATIENCE)
    assert p.returncode == 0
    assert len(out.splitlines()) > 3 and b"[rqlited]" not in out
    assert err.splitlines()[0].startswith(b"[rqlited] ")


def test_without_stdout_and_stdin(node):
    node.start(command=["sh", "-c", 'exec "$0" "$@" <&- >&-', *node.command()]).stop()


# --- the data directory --------------------------------------------------------------------------


def test_the_data_directory_is_made_with_its_parents(node):
    node.data = os.path.join(node.data, "a", "b")
    node.start()
    assert os.stat(node.data).st_mode & 0o777 == 0o755


def test_foreign_entries_in_the_data_directory_are_left_alone(node):
    os.makedirs(node.in_data("lost+found", "x"))
    with open(node.in_data("note.txt"), "w", encoding="ascii") as f:
        f.write("mine")
    node.start().restart()
    assert os.path.isdir(node.in_data("lost+found", "x"))
    with open(node.in_data("note.txt"), encoding="ascii") as f:
        assert f.read() == "mine"


def test_a_second_process_on_one_directory_is_refused(node, make_node):
    node.start()
    make_foo(node)
    second = make_node()
    second.data = node.data
    assert log_fatal(second) == "data directory %s is in use by another process" % node.data
    assert node.one("SELECT count(*) FROM foo") == 3
    node.execute("INSERT INTO foo(name) VALUES('after')")
    node.kill()  # no lock survives its process
    node.start()
    assert node.one("SELECT count(*) FROM foo") == 4


def test_the_directory_of_the_go_server_is_refused_untouched(node):
    os.makedirs(node.in_data("raft"))
    with open(node.in_data("raft.db"), "wb") as f:
        f.write(b"\x00" * 4096)
    text = log_fatal(node)
    assert text == ("%s holds data of another rqlite version; take a backup there and load it here "
                    '(see README, "Moving from rqlite")' % node.data)
    assert sorted(os.listdir(node.data)) == ["raft", "raft.db"]


def test_the_directory_of_a_newer_format_is_refused_untouched(node):
    node.start()
    make_foo(node)
    node.stop()
    with open(node.in_data("format"), encoding="ascii") as f:
        ours = f.read()
    listing = sorted(os.walk(node.data))
    with open(node.in_data("format"), "w", encoding="ascii") as f:
        f.write("%d\n" % (int(ours) + 1))
    assert log_fatal(node) == (
        "%s was written by a newer rqlited (format %d; this one knows %d): start that version, take a backup there and "
        'boot an empty data directory with it (see README, "Moving from rqlite")' % (node.data, int(ours) + 1, int(ours)))
    assert sorted(os.walk(node.data)) == listing
    for damaged in ("", "x\n", "0\n", "1"):
        with open(node.in_data("format"), "w", encoding="ascii") as f:
            f.write(damaged)
        assert log_fatal(node) == "%s/format does not hold a format's number" % node.data
    os.unlink(node.in_data("format"))  # as it was before there was one
    node.start()
    assert node.one("SELECT count(*) FROM foo") == 3
    with open(node.in_data("format"), encoding="ascii") as f:
        assert f.read() == ours


def test_moving_from_the_go_server_by_the_readme(make_node, directory):
    """Its backups are in WAL mode (v8-v10) or DELETE mode (v5-v7)."""
    for mode in ("WAL", "DELETE"):
        backup = os.path.join(directory, mode + ".sqlite")
        subprocess.run(["sqlite3", backup, "PRAGMA journal_mode=%s; CREATE TABLE foo(id INTEGER PRIMARY KEY, name); "
                        "INSERT INTO foo(name) VALUES('a'), ('b');" % mode], check=True, stdout=subprocess.DEVNULL)
        first, second = make_node("1"), make_node("2")
        first.start()
        subprocess.run(["curl", "-sf", "-X", "POST", "-T", backup, "http://127.0.0.1:%d/boot" % first.http], check=True)
        second.start("-join", "127.0.0.1:%d" % first.raft)
        wait_until(lambda: second.query("SELECT name FROM foo ORDER BY id", params="?level=none") == [["a"], ["b"]],
                   "the rows on the second node")
        saved = os.path.join(directory, "saved.sqlite")
        subprocess.run(["curl", "-sfo", saved, "http://127.0.0.1:%d/db/backup" % second.http], check=True)
        assert subprocess.check_output(["sqlite3", saved, "PRAGMA integrity_check; SELECT count(*) FROM foo"]) == b"ok\n2\n"


def test_a_data_path_that_is_a_file(node):
    with open(node.data, "wb"):
        pass
    assert node.data in log_fatal(node)


def test_a_database_file_of_someone_else_is_not_overwritten(node):
    os.mkdir(node.data)
    subprocess.run(["sqlite3", node.in_data("db.sqlite"), "CREATE TABLE precious(x)"], check=True)
    with open(node.in_data("db.sqlite"), "rb") as f:
        before = f.read()
    assert "move it away" in log_fatal(node, "-on-disk")
    node.flags = []
    node.start().stop()
    with open(node.in_data("db.sqlite"), "rb") as f:
        assert f.read() == before


# --- ports ---------------------------------------------------------------------------------------


def test_ports_in_use(node):
    for port, text in [
        (node.raft, "failed to listen on 127.0.0.1:%d: listen tcp 127.0.0.1:%d: bind: address already in use"),
        (node.http, "failed to start HTTP server: listen tcp 127.0.0.1:%d: bind: address already in use"),
    ]:
        with socket.create_server(("127.0.0.1", port)):
            assert log_fatal(node) == text % ((port,) * text.count("%d"))
    node.start()


def test_a_failed_start_decides_nothing(node):
    with socket.create_server(("127.0.0.1", node.http)):
        log_fatal(node)
    node.id = "other"
    node.start()


def test_addresses_may_change(node):
    node.start()
    make_foo(node)
    node.stop()
    node.http, node.raft = free_ports(2)
    node.start()
    assert node.one("SELECT count(*) FROM foo") == 3
    wait_until(lambda: node.get("/nodes").json["1"]["addr"] == "127.0.0.1:%d" % node.raft, "the corrected address")
    assert node.get("/nodes").json["1"]["reachable"] is True


def test_all_interfaces(node):
    node.start(command=[RQLITED, "-http-addr", "0.0.0.0:%d" % node.http, "-http-adv-addr", "localhost:%d" % node.http,
                        "-raft-addr", "0.0.0.0:%d" % node.raft, "-raft-adv-addr", "localhost:%d" % node.raft, node.data])
    assert node.get("/status").json["store"]["node_id"] == "localhost:%d" % node.raft


# --- node ID -------------------------------------------------------------------------------------


def test_another_node_id_is_refused(node):
    node.start().stop()
    node.id = "2"
    assert log_fatal(node) == 'node ID "2" does not match the ID "1" stored in %s' % node.data
    node.id = "1"
    node.start()


def test_the_stored_id_serves_when_none_is_given(node):
    node.id = "seven of nine"
    node.start().stop()
    node.start(command=[RQLITED, "-http-addr", "127.0.0.1:%d" % node.http, "-raft-addr", "127.0.0.1:%d" % node.raft,
                        node.data])
    assert node.get("/status").json["store"]["node_id"] == "seven of nine"


def test_the_id_defaults_to_the_raft_address(node):
    command = [RQLITED, "-http-addr", "127.0.0.1:%d" % node.http, "-raft-addr", "127.0.0.1:%d" % node.raft, node.data]
    node.start(command=command)
    assert node.get("/status").json["store"]["node_id"] == "127.0.0.1:%d" % node.raft


# --- restart and modes ---------------------------------------------------------------------------


def test_data_survives_restart_and_kill(running):
    make_foo(running)
    running.restart()
    assert running.query("SELECT name FROM foo") == [["row 0"], ["row 1"], ["row 2"]]
    running.kill().start()
    assert running.query("SELECT name FROM foo") == [["row 0"], ["row 1"], ["row 2"]]
    assert running.execute("INSERT INTO foo(name) VALUES('next')") == [{"last_insert_id": 4, "rows_affected": 1}]


def test_data_follows_from_mode_to_mode(node):
    node.start()
    make_foo(node)
    assert not os.path.exists(node.in_data("db.sqlite"))
    assert node.get("/status").json["store"]["sqlite3"]["path"] == ":memory:"
    node.restart("-on-disk")
    assert node.one("SELECT count(*) FROM foo") == 3
    for suffix in ("", "-wal", "-shm"):
        assert os.stat(node.in_data("db.sqlite" + suffix)).st_mode & 0o777 == 0o644
    node.execute("INSERT INTO foo(name) VALUES('on disk')")
    node.stop()
    node.flags = []
    node.start()
    assert node.one("SELECT count(*) FROM foo") == 4
    assert not os.path.exists(node.in_data("db.sqlite"))
    assert "removed %s" % node.in_data("db.sqlite") in node.log()


def test_the_database_file_may_be_lost_or_spoilt(node):
    node.start("-on-disk")
    make_foo(node)
    node.stop()
    for name in os.listdir(node.data):
        if name.startswith("db.sqlite"):
            os.unlink(node.in_data(name))
    node.start()
    assert node.one("SELECT count(*) FROM foo") == 3
    node.stop()
    subprocess.run(["sqlite3", node.in_data("db.sqlite"), "CREATE TABLE IF NOT EXISTS foo(x); DELETE FROM foo"], check=True)
    node.start()
    assert node.one("SELECT count(*) FROM foo") == 3
    node.kill()
    with open(node.in_data("db.sqlite"), "r+b") as f:
        f.write(b"no database at all")
    node.start()
    assert node.one("SELECT count(*) FROM foo") == 3


def test_a_path_for_the_database_file(node, directory):
    path = os.path.join(directory, "some", "where", "my.db")
    node.start("-on-disk", "-on-disk-path", path)
    make_foo(node)
    assert os.path.exists(path) and not os.path.exists(node.in_data("db.sqlite"))
    node.stop()
    for name in os.listdir(os.path.dirname(path)):
        os.unlink(os.path.join(os.path.dirname(path), name))  # as when a tmpfs comes back empty
    node.start()
    assert node.one("SELECT count(*) FROM foo") == 3


# --- extensions ----------------------------------------------------------------------------------


def test_extensions_are_copied_and_loaded(node, directory):
    source = os.path.join(directory, "seven.c")
    library = os.path.join(directory, "ext", "seven.so")
    os.mkdir(os.path.dirname(library))
    with open(source, "w", encoding="ascii") as f:
        f.write("""#include <sqlite3ext.h>
SQLITE_EXTENSION_INIT1
static void seven(sqlite3_context *c, int n, sqlite3_value **v)
{ (void)n; (void)v; sqlite3_result_int(c, 7); }
int sqlite3_seven_init(sqlite3 *db, char **e, const sqlite3_api_routines *api)
{ (void)e; SQLITE_EXTENSION_INIT2(api);
  return sqlite3_create_function(db, "seven", 0, SQLITE_UTF8 | SQLITE_DETERMINISTIC, 0, seven, 0, 0); }
""")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    node.start("-extensions-path", os.path.dirname(library))
    assert node.one("SELECT seven()") == 7
    node.execute("CREATE TABLE t(x)", "INSERT INTO t VALUES(seven())")
    assert node.get("/status?key=extensions").json == {"dir": node.in_data("extensions"), "names": ["seven.so"]}
    assert "loaded extensions: seven.so" in node.log()
    os.unlink(library)
    node.stop()
    node.start("-extensions-path", directory + "/ext")  # an empty directory: the old copies are gone
    assert os.listdir(node.in_data("extensions")) == []


def test_an_extension_that_cannot_be_loaded_ends_the_start(node, directory):
    path = os.path.join(directory, "broken.so")
    with open(path, "w", encoding="ascii") as f:
        f.write("not a library")
    assert log_fatal(node, "-extensions-path", path).startswith("failed to open store: ")


# --- signals -------------------------------------------------------------------------------------


def test_interrupt_and_terminate_end_in_order(running):
    make_foo(running)
    running.stop(signal.SIGINT)
    assert 'received signal "interrupt"' in running.log()
    running.start()
    running.stop(signal.SIGTERM)
    assert 'received signal "terminated"' in running.log()
    running.start()
    assert running.one("SELECT count(*) FROM foo") == 3


def test_other_signals_have_their_default_action(node):
    node.start()
    node.stop(signal.SIGHUP, status=-signal.SIGHUP)


def in_background(f, *args):
    box = []
    t = threading.Thread(target=lambda: box.append(f(*args)))
    t.start()
    return t, box


def cpu_ticks(node):
    with open("/proc/%d/stat" % node.process.pid, encoding="ascii") as f:
        return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))


def start_query(node, sql):
    """A thread that asks for sql, started, and the box its answer will be in (None if it is cut off);
    the node works on it already (its CPU time grows)."""
    def ask():
        try:
            return node.get("/db/query?level=none&q=" + urllib.parse.quote(sql), timeout=300)
        except (OSError, http.client.HTTPException):
            return None

    before = cpu_ticks(node)
    thread, box = in_background(ask)
    wait_until(lambda: cpu_ticks(node) > before + 10, "a running query")
    return thread, box


def test_a_request_in_flight_is_answered_before_the_end(node):
    node.start()
    thread, box = start_query(node, slow_query(5_000_000))
    node.stop()
    thread.join()
    assert box[0].results == [{"columns": ["count(*)"], "types": ["integer"], "values": [[5000000]]}]


def test_new_connections_are_refused_while_stopping(node):
    node.start()
    thread, _ = start_query(node, slow_query(20_000_000))
    node.process.send_signal(signal.SIGTERM)
    node.wait_log("closing HTTP service")

    def refused():
        try:
            node.get("/readyz")
        except OSError:
            return True
        return False

    wait_until(refused, "a closed port", 5)
    assert node.wait_end() == 0
    thread.join()


def test_an_endless_request_is_cut_off(node):
    node.start()
    thread, _ = start_query(node, ENDLESS)
    node.stop()  # not after the request, which has no end
    thread.join()


def test_a_second_signal_ends_at_once(node):
    node.start()
    thread, _ = start_query(node, ENDLESS)
    node.process.send_signal(signal.SIGTERM)
    node.wait_log("received signal")
    node.process.send_signal(signal.SIGTERM)  # too soon to be meant: only logged
    wait_until(lambda: node.log().count("received signal") == 2, "the second line")
    assert node.alive()
    time.sleep(1.1)  # what is tested is a time
    node.stop(signal.SIGINT, status=1)  # 0 is for those who had their grace
    thread.join()


def test_a_signal_during_the_start_ends_it(node):
    node.start()
    make_foo(node)
    node.stop()
    for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08):
        node.launch()
        end = time.monotonic() + delay
        while time.monotonic() < end:
            pass
        node.process.send_signal(signal.SIGTERM)
        assert node.wait_end() in (0, -signal.SIGTERM), node.log()
    node.start()
    assert node.one("SELECT count(*) FROM foo") == 3


# --- systemd -------------------------------------------------------------------------------------


def test_systemd_is_notified(node, directory):
    path = os.path.join(directory, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(PATIENCE)
        node.start(env={**os.environ, "NOTIFY_SOCKET": path})
        assert "READY=1" in s.recv(1000).decode().splitlines()
        assert "node HTTP API available at" in node.log()
        node.process.send_signal(signal.SIGHUP)  # systemctl reload, with nothing to read again
        node.wait_log('received signal "hangup"')
        assert node.one("SELECT 1") == 1
        node.stop()
        assert "STOPPING=1" in s.recv(1000).decode().splitlines()
