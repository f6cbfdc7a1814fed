"""Automatic VACUUM and optimize: the leader proposes, every node does it (spec: server 13)."""
import os

from conftest import wait_until

VACUUM = ("-auto-vacuum-int", "300ms")


def counter(node, name):
    return node.get("/debug/vars").json["store"].get(name, 0)


def fill_and_empty(node):
    node.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)",
                 "INSERT INTO t(v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
                 "SELECT hex(randomblob(100)) FROM n",
                 "DELETE FROM t WHERE id % 10")


def free_pages(node):
    return node.one("SELECT freelist_count FROM pragma_freelist_count", params="?level=none")


def test_a_vacuum_gives_free_pages_back_on_every_node(cluster):
    cluster.start(3, *VACUUM)
    leader = cluster.leader()
    fill_and_empty(leader)
    wait_until(lambda: counter(leader, "num_auto_vacuums") > 0, "a VACUUM")
    wait_until(lambda: all(free_pages(n) == 0 for n in cluster.nodes), "no free pages on any node")
    leader.wait_log("database vacuumed in ")
    assert counter(leader, "num_auto_vacuums_failed") == 0
    assert all(counter(n, "num_auto_vacuums") == 0 for n in cluster.nodes if n is not leader)
    times = [n.get("/status").json["store"]["auto_vacuum"] for n in cluster.nodes]
    assert all(t["next_vacuum_after"].endswith("Z") for t in times)
    wait_until(lambda: all("last_vacuum" in n.get("/status").json["store"]["auto_vacuum"] for n in cluster.nodes),
               "its time on every node")
    # the next leader goes on
    leader.stop()
    cluster.leader()
    other = cluster.leader()
    fill_and_empty(other)
    wait_until(lambda: counter(other, "num_auto_vacuums") > 0, "a VACUUM by the next leader")
    cluster.wait_same("SELECT count(*), sum(length(v)) FROM t")
    hashes = {n.get("/status").json["store"]["effect_hash"] for n in cluster.alive()}
    wait_until(lambda: len({n.get("/status").json["store"]["effect_hash"] for n in cluster.alive()}) == 1,
               "equal effects: %s" % hashes)


def test_an_idle_database_is_left_alone(running):
    running.restart("-auto-vacuum-int", "150ms", "-auto-optimize-int", "150ms", *running.flags)
    running.execute("CREATE TABLE t(a)")
    wait_until(lambda: counter(running, "num_auto_vacuums") and counter(running, "num_auto_optimizes"), "both")

    def rests():
        before = running.get("/status").json["store"]["raft"]["last_log_index"]
        looks = counter(running, "num_auto_optimizes"), counter(running, "num_auto_vacuums")
        # ten requests that write nothing, each in a turn in which the node looks at the clock
        for _ in range(10):
            running.query("SELECT 1", params="?level=linearizable")
        after = running.get("/status").json["store"]["raft"]["last_log_index"]
        return before == after and looks == (counter(running, "num_auto_optimizes"),
                                             counter(running, "num_auto_vacuums"))

    wait_until(rests, "a log that does not grow", pause=0.5)
    vacuums = counter(running, "num_auto_vacuums")
    running.execute("INSERT INTO t VALUES(1)")
    wait_until(lambda: counter(running, "num_auto_vacuums") > vacuums, "a VACUUM after a write")


def test_without_the_flag_nothing_is_told_or_kept(running):
    assert "auto_vacuum" not in running.get("/status").json["store"]
    running.restart("-auto-vacuum-int", "1h", "-auto-optimize-int", "0", *running.flags)
    status = running.get("/status").json["store"]["auto_vacuum"]
    assert list(status) == ["next_vacuum_after"]
    assert os.path.exists(running.in_data("maintenance"))
    running.restart()
    assert running.get("/status").json["store"]["auto_vacuum"] == status
    running.flags = [f for f in running.flags if f not in ("-auto-vacuum-int", "1h")]
    running.restart(*running.flags)
    assert not os.path.exists(running.in_data("maintenance"))
