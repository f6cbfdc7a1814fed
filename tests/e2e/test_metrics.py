"""/metrics: figures for Prometheus."""
import os
import socket
import sys

import pytest

from conftest import ROOT, wait_until

sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
from prom import Bad, Page  # noqa: E402

TYPE = "text/plain; version=0.0.4; charset=utf-8"


def scrape(node):
    r = node.get("/metrics")
    assert (r.status, r.headers["Content-Type"]) == (200, TYPE)
    return Page(r.text)


def test_the_parser_refuses_what_is_wrong():
    good = "# HELP a_total x\n# TYPE a_total counter\n"
    Page(good + 'a_total{l="\\"\\\\\\n"} 1\n')
    for bad in ['a_total 1', 'a_total{} 1\n', 'a_total 1\na_total 2\n', 'a_total{l="a"b"} 1\n', 'a_total -1\n',
                'a_total x\n', 'b 1\n', 'a_total{l="1",l="2"} 1\n', "# HELP a_total x\n", 'a_total{1="x"} 1\n']:
        with pytest.raises(Bad):
            Page(good + bad)
    for bad in ["x 1\n", "# HELP g_total x\n# TYPE g_total gauge\ng_total 1\n",
                '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n',
                '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 1\nh_sum 1\nh_count 1\n']:
        with pytest.raises(Bad):
            Page(bad)


def test_a_page_is_sound_and_tells_of_all_parts(running):
    running.execute("CREATE TABLE t (a)", "INSERT INTO t VALUES (1), (2)")
    running.query("SELECT * FROM t")
    running.post("/db/query", ["SELECT * FROM nosuch"])
    p = scrape(running)
    assert p.get("rqlite_sqlite_query_errors_total") == 1
    one = ["rqlite_store_open", "rqlite_store_ready", "rqlite_raft_voter", "rqlite_raft_leader_known"]
    assert [p.get(n) for n in one] == [1, 1, 1, 1]
    assert p.total("rqlite_build_info") == 1
    assert {s: p.get("rqlite_raft_state", state=s) for s in ("Leader", "Follower", "Candidate", "Shutdown")} == {
        "Leader": 1, "Follower": 0, "Candidate": 0, "Shutdown": 0}
    for name in ["rqlite_raft_term", "rqlite_raft_commit_index", "rqlite_raft_applied_index", "rqlite_raft_last_log_index",
                 "rqlite_wal_bytes", "rqlite_wal_segments", "rqlite_wal_syncs_total", "rqlite_wal_written_bytes_total",
                 "rqlite_wal_sync_duration_seconds_count", "rqlite_apply_duration_seconds_count",
                 "rqlite_sqlite_db_bytes", "rqlite_sqlite_readers", "rqlite_sqlite_writes_total",
                 "rqlite_sqlite_queries_total", "rqlite_data_dir_bytes", "process_resident_memory_bytes",
                 "process_cpu_seconds_total", "process_open_fds", "process_max_fds", "process_threads"]:
        assert p.get(name) > 0, name
    for name in ["rqlite_raft_other_voters", "rqlite_raft_pending_entries", "rqlite_raft_last_snapshot_index",
                 "rqlite_sqlite_wal_bytes", "rqlite_snapshots_total", "rqlite_snapshot_store_bytes"]:
        assert p.get(name) >= 0, name
    assert p.get("rqlite_wal_syncs_total") == p.get("rqlite_wal_sync_duration_seconds_count")
    status = running.get("/status").json
    assert abs(p.get("process_start_time_seconds") - os.stat("/proc/%d" % status["os"]["pid"]).st_ctime) < 60


def test_the_counters_of_debug_vars_are_there(node):
    node.start()
    node.execute("CREATE TABLE t (a)")
    p, variables = scrape(node), node.get("/debug/vars").json
    for name, counters in variables.items():
        if name in ("cmdline", "memstats"):
            continue
        for key in counters:
            series = "rqlite_vars_%s_%s_total" % (name.replace(".", "_"), key)
            assert p.get(series) is not None, series
    assert p.get("rqlite_vars_http_executions_total") == 1


def test_requests_are_counted_when_they_are_over(node):
    node.start()
    before = scrape(node)
    name = "rqlite_http_requests_total"
    for _ in range(3):
        node.execute("CREATE TABLE IF NOT EXISTS t (a)")
    node.query("SELECT 1")
    node.get("/db/query?q=SELECT%202")
    node.get("/db/execute")
    node.get("/nope")
    node.get("/status?timeout=x")
    node.ask("HEAD", "/metrics")
    p = scrape(node)
    assert p.get(name, endpoint="/db/execute", method="POST", code="2xx") == 3
    assert p.get(name, endpoint="/db/execute", method="GET", code="4xx") == 1
    assert p.get(name, endpoint="/db/query", method="POST", code="2xx") == 1
    assert p.get(name, endpoint="/db/query", method="GET", code="2xx") == 1
    assert p.get(name, endpoint="other", method="GET", code="4xx") == 1
    assert p.get(name, endpoint="/status", method="GET", code="4xx") == 1
    assert p.get(name, endpoint="/metrics", method="HEAD", code="2xx") == 1
    assert p.get("rqlite_http_request_duration_seconds_count", endpoint="/db/execute") == 4
    assert p.get("rqlite_http_sent_bytes_total", endpoint="/db/query") > 0
    assert p.total(name) > before.total(name)


def test_requests_whose_client_left_are_counted(node):
    node.start()
    s = socket.create_connection(("127.0.0.1", node.http))
    sql = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c"
    s.sendall(b"GET /db/query?q=" + sql.replace(" ", "+").replace("+1", "%2b1").encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until(lambda: scrape(node).get("rqlite_sqlite_readers_in_use"), "the read to begin")
    s.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
    s.close()
    wait_until(lambda: scrape(node).get("rqlite_http_requests_total", endpoint="/db/query", method="GET", code="gone") == 1,
               "the request to be counted")


def test_other_methods_and_paths_are_refused(node):
    node.start()
    assert node.post("/metrics").status == 405
    assert node.get("/metrics/").status == 404
    head = node.ask("HEAD", "/metrics")
    assert (head.status, head.body, head.headers["Content-Type"]) == (200, b"", TYPE)


def test_what_a_label_holds_cannot_break_the_page(cluster):
    cluster.start(1)
    name = 'a"b\\c'
    other = cluster.make_node(name)
    other.start("-join", "127.0.0.1:%d" % cluster[1].raft)
    wait_until(lambda: scrape(cluster[1]).get("rqlite_raft_peer_connected", peer=name) == 1, "the peer")


def test_a_leader_tells_how_far_its_peers_are(cluster):
    cluster.start(3)
    leader = cluster.leader()
    others = [n for n in cluster.alive() if n is not leader]
    leader.execute("CREATE TABLE t (a)")

    def caught_up():
        p = scrape(leader)
        return all(p.get("rqlite_raft_peer_lag_entries", peer=n.id) == 0 and
                   p.get("rqlite_raft_peer_match_index", peer=n.id) == p.get("rqlite_raft_last_log_index")
                   for n in others)

    wait_until(caught_up, "followers without lag")
    p = scrape(leader)
    assert p.get("rqlite_raft_other_voters") == 2
    assert p.get("rqlite_raft_leader_silent_seconds") == 0
    for n in others:
        assert p.get("rqlite_raft_peer_connected", peer=n.id) == 1
        f = scrape(n)
        assert f.get("rqlite_raft_state", state="Follower") == 1
        assert f.get("rqlite_raft_leader_silent_seconds") < 60
        assert f.get("rqlite_raft_peer_lag_entries", peer=leader.id) is None
    for n in cluster.alive():
        f = scrape(n)
        for name in ("connections", "received_bytes_total", "sent_bytes_total", "accepted_total", "dialed_total"):
            assert f.get("rqlite_net_" + name) > 0, name
        assert n.get("/debug/vars?key=mux").json["mux"]["num_connections_handled"] > 0
    others[0].kill()
    leader.execute("INSERT INTO t VALUES (1)")
    wait_until(lambda: scrape(leader).get("rqlite_raft_peer_lag_entries", peer=others[0].id) >= 1, "a lag")
    wait_until(lambda: scrape(leader).get("rqlite_raft_peer_connected", peer=others[0].id) == 0, "a lost peer")


def test_status_tells_of_the_connections_to_other_nodes(cluster):
    cluster.start(2)
    follower = cluster.follower()
    follower.query("SELECT 1")
    pools = follower.get("/status?key=http.cluster.conn_pool_stats").json
    assert pools["127.0.0.1:%d" % cluster.leader().raft] == {"idle": 1, "max_open_connections": 2, "open_connections": 1}


def test_status_tells_which_readers_are_at_work(node):
    node.start()
    pool = node.get("/status").json["store"]["sqlite3"]["conn_pool_stats"]["ro"]
    assert pool["in_use"] >= 1  # the one that answers
    assert pool["idle"] == pool["open_connections"] - pool["in_use"]


def test_status_tells_of_the_last_backup(node):
    node.start()
    assert node.get("/status?key=last_backup_time").json == {}
    assert node.get("/db/backup?vacuum&fmt=sql").status == 500
    assert "last_backup_time" not in node.get("/status").json
    assert node.get("/db/backup").status == 200
    assert node.get("/status").json["last_backup_time"] >= node.get("/status").json["node"]["start_time"]


def test_the_threads_are_listed_with_their_states(node):
    node.start()
    text = node.get("/debug/pprof/goroutine").text
    threads = [line for line in text.splitlines() if line.startswith("thread ")]
    assert len(threads) > 4
    assert any("] running in " in t for t in threads) and any("] sleeping in " in t for t in threads)
    for name in ("wal", "apply", "node"):
        assert any("[%s]" % name in t for t in threads), text


def test_snapshots_are_counted_and_timed(node):
    node.start()
    node.execute("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    assert scrape(node).get("rqlite_snapshot_duration_seconds_count") == 0
    assert node.post("/snapshot").status == 200
    p = scrape(node)
    assert p.get("rqlite_snapshots_total") == p.get("rqlite_snapshot_duration_seconds_count") == 1
    assert p.get("rqlite_snapshot_store_bytes") > 0 and p.get("rqlite_snapshot_store_snapshots") == 1
    assert p.get("rqlite_raft_last_snapshot_index") > 0
