"""Clusters of processes: forming, joining, membership, handing over, recovery (spec: cluster, server 5, 11)."""
import json
import os
import signal
import threading
import time

import pytest

from conftest import free_ports, run, shared_data, wait_until


def counter(node, name, group="store"):
    return node.get("/debug/vars").json[group].get(name, 0)


def addr(node):
    return "127.0.0.1:%d" % node.raft


def url(node, scheme="http"):
    return "%s://127.0.0.1:%d" % (scheme, node.http)


def make_table(node):
    node.execute("CREATE TABLE foo (id INTEGER PRIMARY KEY, name TEXT)", "INSERT INTO foo(name) VALUES('a')")


# --- joining ---------------------------------------------------------------------------------


def test_three_nodes_are_one_database(cluster):
    cluster.start(3)
    make_table(cluster[1])
    assert cluster.wait_same("SELECT * FROM foo") == [[1, "a"]]
    cluster[3].execute("INSERT INTO foo(name) VALUES('b')")
    cluster[2].execute("INSERT INTO foo(name) VALUES('c')")
    assert cluster.wait_same("SELECT name FROM foo ORDER BY id") == [["a"], ["b"], ["c"]]
    for node in cluster.nodes:
        members = cluster.members(node)
        assert sorted(members) == ["1", "2", "3"]
        assert all(m["reachable"] and m["voter"] for m in members.values())
        assert [m["id"] for m in members.values() if m["leader"]] == ["1"]
        assert members["2"]["addr"] == addr(cluster[2]) and members["2"]["api_addr"] == url(cluster[2])
    cluster[1].wait_log("node with ID 2, at %s, joined successfully as voter" % addr(cluster[2]))
    cluster[2].wait_log("successfully joined cluster at " + addr(cluster[1]))
    assert counter(cluster[1], "num_joins") == 2


def test_a_follower_passes_a_join_on_to_the_leader(cluster):
    cluster.start(2)
    third = cluster.add(via=[cluster[2]])
    third.wait_log("successfully joined cluster at " + addr(cluster[2]))
    cluster.wait_voters(3)


@pytest.mark.parametrize("form", ["{1}", "{1}/", "http://127.0.0.1:9,{2}", "{2},{raft1}", "{http1}"])
def test_http_addresses_lead_in_as_well(cluster, form):
    cluster.start(2)
    join = form.format("", url(cluster[1]), url(cluster[2]), raft1=addr(cluster[1]),
                       http1="127.0.0.1:%d" % cluster[1].http)
    third = cluster.make_node("3").start("-join", join)
    cluster.nodes.append(third)
    third.wait_log("successfully joined cluster at ")
    if form == "{http1}":
        third.wait_log("join address 127.0.0.1:%d serves HTTP" % cluster[1].http)
    cluster.wait_voters(3)


def test_joining_twice_changes_nothing(cluster):
    cluster.start(2)
    make_table(cluster[1])
    before = cluster[1].get("/status").json["store"]["raft"]["latest_configuration_index"]
    cluster[2].restart()
    cluster[2].wait_log("successfully joined cluster at ")
    cluster[1].wait_log("node 2 at %s already member of cluster, ignoring join request" % addr(cluster[2]))
    assert counter(cluster[1], "num_ignored_joins") == 1
    assert cluster[1].get("/status").json["store"]["raft"]["latest_configuration_index"] == before


def test_a_replica_neither_votes_nor_leads(cluster):
    cluster.start(2)
    replica = cluster.add("-raft-non-voter")
    make_table(replica)
    assert replica.query("SELECT * FROM foo") == [[1, "a"]]
    wait_until(lambda: cluster.members()["3"]["reachable"], "the replica")
    assert not cluster.members()["3"]["voter"]
    assert "3" not in cluster[1].get("/nodes").json
    cluster[1].wait_log("joined successfully as non-voter")
    answer = cluster[1].post("/leader?wait", {"id": "3"})
    assert (answer.status, answer.text.strip()) == (500, "stepdown: node 3 is not a voter")
    assert cluster.leader() is cluster[1]


def test_a_replica_becomes_a_voter_and_back(cluster):
    cluster.start(2)
    third = cluster.add("-raft-non-voter")
    third.stop()
    third.start("-join", addr(cluster[1]))
    cluster.wait_voters(3)
    third.stop()
    third.start("-join", addr(cluster[1]), "-raft-non-voter")
    cluster.wait_members(cluster[1], lambda m: not m["3"]["voter"] and m["3"]["reachable"], "a replica again")


def test_a_member_may_change_its_address(cluster):
    cluster.start(3)
    make_table(cluster[1])
    third = cluster[3]
    third.stop()
    third.raft = free_ports(1)[0]
    third.start()
    cluster.wait_members(cluster[1], lambda m: m["3"]["addr"] == addr(third) and m["3"]["reachable"], "the new address")
    cluster[1].wait_log("removed node 3 prior to rejoin with changed ID or address")
    assert counter(cluster[1], "num_removed_before_joins") == 1
    cluster[1].execute("INSERT INTO foo(name) VALUES('b')")
    cluster.wait_same("SELECT * FROM foo")


def test_another_id_at_a_known_address_takes_its_place(cluster):
    cluster.start(3)
    cluster[3].kill()
    fresh = cluster.make_node("4")
    fresh.raft = cluster[3].raft
    fresh.start("-join", addr(cluster[1]))
    cluster.wait_members(cluster[1], lambda m: sorted(m) == ["1", "2", "4"] and m["4"]["voter"], "node 4 instead of 3")


def test_a_voter_that_lost_its_disk_starts_from_nothing(cluster):
    cluster.start(3)
    make_table(cluster[1])
    lost = cluster[3]
    lost.kill()
    lost.data += "-new"
    lost.start()
    cluster.wait_voters(3)
    cluster.wait_same("SELECT * FROM foo")
    cluster[1].wait_log("removed node 3 prior to rejoin")


def test_what_cannot_be_joined_ends_the_start(make_node):
    node = make_node("2")
    node.launch("-join", "127.0.0.1:9", "-join-attempts", "2", "-join-interval", "10ms")
    assert node.wait_end() == 1
    log = node.log()
    assert "[cluster-join]" in log
    assert "failed to join via node at 127.0.0.1:9: " in log and "did you forget" not in log
    assert "failed to join cluster at [127.0.0.1:9], sleeping 10ms before retry" in log
    assert "failed to join cluster at [127.0.0.1:9], after 2 attempt(s)" in log
    assert log.splitlines()[-1].endswith("clustering failure: failed to join cluster: failed to join cluster")


def test_a_node_that_is_joining_serves_http_and_obeys_signals(make_node):
    node = make_node("2")
    node.launch("-join", "127.0.0.1:9", "-join-interval", "1h")
    node.wait_log("sleeping 1h0m0s before retry")
    assert node.get("/readyz").status == 503
    assert node.get("/readyz?noleader").status == 200
    assert node.get("/nodes").json == {}
    assert node.post("/db/execute", ["CREATE TABLE x (id)"]).status == 503
    node.process.send_signal(signal.SIGTERM)
    assert node.wait_end() == 1  # and not after an hour
    assert "clustering failure: failed to join cluster: join operation canceled" in node.log()


def test_a_lone_node_is_not_to_join_others(cluster):
    cluster.start(1)
    lone = cluster.make_node("2").start()
    lone.stop()
    lone.launch("-join", addr(cluster[1]))
    assert lone.wait_end() == 1
    assert ("clustering failure: node is the only node in a single-node cluster, joining other clusters not supported"
            in lone.log())


def test_a_replica_needs_a_cluster(node):
    node.launch("-raft-non-voter")
    assert node.wait_end() == 1
    assert ("clustering failure: cannot create a new non-voting node without joining it to an existing cluster"
            in node.log())


def test_a_restarting_member_goes_on_when_nobody_lets_it_in(cluster):
    cluster.start(3)
    for node in cluster.nodes:
        node.kill()
    second = cluster[2]
    second.launch("-join", addr(cluster[1]), "-join-attempts", "2", "-join-interval", "50ms")
    second.wait_log("going on as the member that this node is")
    second.wait_log("node HTTP API available at")
    assert second.get("/readyz").status == 503
    cluster[3].launch()
    cluster[3].wait_ready()
    second.wait_ready()


def test_a_restarting_member_that_is_told_to_end_while_it_asks_to_be_let_in_ends_in_order(cluster):
    cluster.start(3)
    for node in cluster.nodes:
        node.kill()
    second = cluster[2]
    second.launch("-join", addr(cluster[1]), "-join-attempts", "1000", "-join-interval", "50ms")
    second.wait_log("failed to join cluster")
    second.stop()
    assert "clustering failure" not in second.log()


def test_a_restarting_member_that_is_elected_while_it_asks_to_be_let_in_is_a_member(cluster):
    cluster.start(2)
    for node in cluster.nodes:
        node.kill()
    for node, other in zip(cluster.nodes, reversed(cluster.nodes)):
        node.launch("-join", addr(other), "-join-attempts", "1000", "-join-interval", "10ms")
    for node in cluster.nodes:
        node.wait_log("successfully joined cluster")
        assert "is that of the leader" not in node.log()


def test_all_nodes_restart_at_once(cluster):
    cluster.start(3)
    make_table(cluster[1])
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        node.launch()
    for node in cluster.nodes:
        node.wait_ready()
    cluster[2].execute("INSERT INTO foo(name) VALUES('b')")
    assert cluster.wait_same("SELECT name FROM foo") == [["a"], ["b"]]


def test_nodes_of_different_clusters_refuse_each_other(cluster, make_node):
    cluster.start(1)
    other = [make_node("a").start()]
    other.append(make_node("b").start("-join", addr(other[0])))
    other[1].stop()
    other[1].launch("-join", addr(cluster[1]), "-join-attempts", "1")
    line = other[1].wait_log("belongs to cluster")
    assert "node b at" in line and "node 1 at" in line
    cluster[1].wait_log("belongs to cluster")
    other[1].wait_ready()
    assert sorted(cluster.members()) == ["1"]


def test_post_join_and_notify_of_older_versions(cluster):
    cluster.start(2)
    body = {"id": "9", "addr": "127.0.0.1:9", "voter": False}
    answer = cluster[2].post("/join", body)
    assert (answer.status, answer.headers["Location"]) == (301, url(cluster[1]) + "/join")
    for _ in range(2):
        answer = cluster[1].post("/join", body)
        assert (answer.status, answer.body) == (200, b"")
    assert cluster.members()["9"]["addr"] == "127.0.0.1:9"
    answer = cluster[1].post("/join", {"id": "8", "addr": "no.such.invalid:1"})
    assert answer.status == 503 and answer.text.startswith("can't resolve no.such.invalid:1 (")
    assert cluster[1].post("/join", {"id": "8"}).status == 400
    assert cluster[1].post("/notify", {"id": "8", "addr": "127.0.0.1:9"}).status == 200


# --- groups ----------------------------------------------------------------------------------


def group(make_node, n, *flags, expect=None):
    nodes = [make_node(str(i + 1)) for i in range(n)]
    where = ",".join(addr(node) for node in nodes)
    for node in nodes:
        node.launch("-bootstrap-expect", str(expect or n), "-join", where, *flags)
    return nodes


def test_a_group_forms_itself(make_node, cluster):
    cluster.nodes = group(make_node, 3)
    for node in cluster.nodes:
        node.wait_ready()
    cluster.wait_voters(3)
    servers = " ".join("{Voter %s %s}" % (n.id, addr(n)) for n in cluster.nodes)
    found = [n for n in cluster.nodes if "cluster bootstrap successful, servers: [%s]" % servers in n.log()]
    assert found  # the others may have joined the first one before they knew enough to do so
    make_table(cluster[2])
    for node in cluster.nodes:
        node.restart()
    assert cluster.wait_same("SELECT * FROM foo") == [[1, "a"]]


def test_a_group_of_one(make_node):
    node, = group(make_node, 1)
    node.wait_ready()
    make_table(node)


def test_more_nodes_than_expected_form_one_cluster(make_node, cluster):
    cluster.nodes = group(make_node, 5, expect=3)
    for node in cluster.nodes:
        node.wait_ready()
    cluster.wait_voters(5)
    assert len({n.get("/status").json["store"]["leader"]["node_id"] for n in cluster.nodes}) == 1


def test_a_group_that_is_not_complete_gives_up(make_node):
    node = make_node("1")
    node.launch("-bootstrap-expect", "3", "-join", "%s,127.0.0.1:9,127.0.0.1:10" % addr(node),
                "-bootstrap-expect-timeout", "3s")
    assert node.wait_end() == 1
    log = node.log()
    assert "failed to notify all targets: [%s 127.0.0.1:9 127.0.0.1:10] (failed to notify node at 127.0.0.1:9: " % (
        addr(node)) in log
    assert log.splitlines()[-1].endswith("clustering failure: boot timeout")


def test_a_signal_ends_the_wait_for_a_group(make_node):
    node = make_node("1")
    node.launch("-bootstrap-expect", "3", "-join", "%s,127.0.0.1:9,127.0.0.1:10" % addr(node))
    node.wait_log("failed to notify all targets")
    node.process.send_signal(signal.SIGINT)
    assert node.wait_end() == 1
    assert "clustering failure: boot canceled" in node.log()


def test_nodes_without_their_disks_do_not_found_the_cluster_anew(make_node, cluster):
    """Two wiped nodes and one with data: neither a new cluster of the three nor the votes of those who have
    forgotten may decide what is acknowledged."""
    nodes = cluster.nodes = group(make_node, 3)
    for node in nodes:
        node.wait_ready()
    make_table(nodes[0])
    cluster.wait_same("SELECT * FROM foo")
    for node in nodes:
        node.kill()
    for node in nodes[1:]:
        node.data += "-new"
    for node in nodes:
        node.launch()
    nodes[1].wait_log("failed to join via node at %s: no leader" % addr(nodes[0]))
    time.sleep(4)
    assert all("cluster bootstrap successful" not in n.log() for n in nodes)
    assert all(n.get("/readyz").status == 503 for n in nodes)
    for node in nodes:
        node.kill()


# --- leaving ---------------------------------------------------------------------------------


def test_a_removed_node_is_out_and_may_come_back(cluster):
    cluster.start(3)
    make_table(cluster[1])
    cluster.wait_same("SELECT * FROM foo")
    assert cluster[2].ask("DELETE", "/remove", {"id": "3"}).status == 200
    cluster[1].wait_log("received request to remove node 3")
    cluster[1].wait_log("node 3 removed successfully")
    assert sorted(cluster.members()) == ["1", "2"]
    cluster[3].wait_log("Leader is now unknown")
    wait_until(lambda: cluster[3].get("/readyz").status == 503, "node 3 to notice")
    assert cluster[3].query("SELECT * FROM foo", params="?level=none") == [[1, "a"]]
    assert cluster[3].post("/db/execute", ["SELECT 1"]).text.strip() == "leader not found"
    assert cluster[1].ask("DELETE", "/remove", {"id": "nosuch"}).status == 200
    cluster[3].restart()
    cluster.wait_voters(3)


def test_the_leader_may_be_removed(cluster):
    cluster.start(3)
    assert cluster[1].ask("DELETE", "/remove", {"id": "1"}).status == 200
    wait_until(lambda: cluster.leader_id(cluster[2]) in ("2", "3"), "another leader")
    wait_until(lambda: sorted(cluster.members(cluster[2])) == ["2", "3"], "two members")
    cluster[1].wait_log("Leader is now unknown")


def test_a_node_leaves_when_it_is_told_to_on_shutdown(cluster):
    cluster.start(3, "-raft-cluster-remove-shutdown")
    cluster[3].stop()
    log = cluster[3].log()
    assert "initiating removal of this node from cluster before shutdown" in log
    assert "[cluster-remove]" in log and "removing node 3 from cluster via leader at " + addr(cluster[1]) in log
    assert "removed this node successfully from cluster before shutdown" in log
    assert sorted(cluster.members(cluster[1])) == ["1", "2"]
    cluster[1].stop()  # the leader itself
    wait_until(lambda: sorted(cluster.members(cluster[2])) == ["2"], "one member")
    cluster[2].wait_ready()
    cluster[2].stop(status=1)  # it cannot be removed from a cluster of its own


def test_raft_stops_in_a_node_that_sees_its_removal(cluster):
    cluster.start(2, "-raft-remove-shutdown")
    cluster[1].ask("DELETE", "/remove", {"id": "1"})
    wait_until(lambda: cluster[1].get("/status").json["store"]["raft"]["state"] == "Shutdown", "Raft to stop")
    assert cluster[1].get("/readyz").status == 503
    cluster[2].wait_ready()


def test_unreachable_members_are_reaped(cluster):
    flags = ["-raft-reap-node-timeout", "4s", "-raft-reap-read-only-node-timeout", "3s"]
    cluster.start(3)
    cluster.add("-raft-non-voter")
    cluster[3].kill()
    cluster[4].kill()
    for node in cluster.alive():  # only now: one that joins slowly is not meant
        node.restart(*node.flags, *flags)
    wait_until(lambda: sorted(cluster.members()) == ["1", "2"], "nodes 3 and 4 to be reaped")

    def logged(text):
        return any(text in n.log() for n in cluster.alive())

    wait_until(lambda: logged("successfully reaped voting node 3"), "the line about node 3")
    wait_until(lambda: logged("successfully reaped non-voting node 4"), "the line about node 4")
    assert sum(counter(n, "nodes_reaped_ok") for n in cluster.alive()) == 2


# --- handing over ----------------------------------------------------------------------------


def test_leadership_goes_where_it_is_sent(cluster):
    cluster.start(3)
    answer = cluster[1].post("/leader?wait", {"id": "3"})
    assert (answer.status, answer.body) == (200, b"")
    assert cluster.leader() is cluster[3]
    answer = cluster[1].post("/leader?wait", {"id": "1"})  # forwarded
    assert answer.status == 200
    assert cluster.leader() is cluster[1]
    assert cluster[1].post("/leader?wait").status == 200
    assert cluster.leader() is not cluster[1]
    for body, text in (({"id": "nosuch"}, "node not found in cluster"),
                       ({"id": cluster.leader().id}, "cannot step down to the current Leader")):
        answer = cluster[2].post("/leader?wait", body)
        assert (answer.status, answer.text.strip()) == (500, "stepdown: " + text)


def test_nobody_to_step_down_to(running):
    answer = running.post("/leader?wait")
    assert (answer.status, answer.text.strip()) == (500, "stepdown: cannot find peer")
    assert running.post("/leader").status == 200


def test_a_leader_that_stops_hands_over(cluster):
    """The longest gap between writes accepted elsewhere stays far below an election timeout, made long here."""
    cluster.start(3, "-raft-heartbeat-timeout", "20s", "-raft-election-timeout", "20s")
    make_table(cluster[1])
    gaps, done = [], threading.Event()

    def write():
        last = time.monotonic()
        while not done.is_set():
            try:
                ok = "error" not in cluster[2].post("/db/execute?timeout=2s", ["INSERT INTO foo(name) VALUES('x')"]).json
            except (OSError, ValueError):
                ok = False
            if ok:
                now = time.monotonic()
                gaps.append(now - last)
                last = now

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(gaps) > 50, "writes")
    cluster[1].stop()
    assert "stepping down as Leader before shutdown" in cluster[1].log()
    n = len(gaps)
    wait_until(lambda: len(gaps) > n + 50, "writes after the hand-over")
    done.set()
    writer.join()
    assert max(gaps) < 15, sorted(gaps)[-5:]
    assert cluster.leader() in (cluster[2], cluster[3])


# --- recovery by raft/peers.json -------------------------------------------------------------


def write_peers(node, *members):
    with open(node.in_data("raft", "peers.json"), "w", encoding="ascii") as f:
        json.dump([{"id": i, "address": a, **more} for i, a, more in members], f)


@pytest.mark.parametrize("mode", [[], ["-on-disk"]])
def test_one_of_three_goes_on_alone(cluster, mode):
    cluster.start(3, *mode)
    make_table(cluster[1])
    cluster[1].execute(*["INSERT INTO foo(name) VALUES('%d')" % i for i in range(100)])
    want = cluster.wait_same("SELECT * FROM foo")
    for node in cluster.nodes:
        node.kill()
    node = cluster[2]
    write_peers(node, ("2", addr(node), {"non_voter": False}))
    node.flags = mode
    node.start()
    path = node.in_data("raft", "peers.json")
    node.wait_log("attempting node recovery using " + path)
    node.wait_log("node recovered successfully using " + path)
    assert not os.path.exists(path) and os.path.exists(node.in_data("raft", "peers.info"))
    assert sorted(cluster.members(node)) == ["2"]
    assert node.query("SELECT * FROM foo") == want
    assert counter(node, "num_recoveries") == 1
    node.execute("INSERT INTO foo(name) VALUES('after')")
    fresh = cluster.make_node("4").start("-join", addr(node), *mode)
    cluster.nodes = [node, fresh]
    cluster.wait_voters(2)
    assert len(cluster.wait_same("SELECT * FROM foo")) == len(want) + 1
    node.restart()
    assert node.one("SELECT count(*) FROM foo") == len(want) + 1


def test_temporary_tables_do_not_keep_a_node_from_recovering(cluster):
    node = cluster.add()
    make_table(node)
    node.execute("CREATE TEMP TABLE tt(x)", "INSERT INTO tt VALUES(1)", "INSERT INTO foo(name) VALUES('a')")
    node.kill()
    write_peers(node, ("1", addr(node), {}))
    node.start()
    assert counter(node, "num_recoveries") == 1
    assert node.one("SELECT count(*) FROM foo") == 2


def test_all_addresses_change_at_once(cluster):
    cluster.start(3)
    make_table(cluster[1])
    cluster.wait_same("SELECT * FROM foo")
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        node.raft = free_ports(1)[0]
    for node in cluster.nodes:
        write_peers(node, *[(n.id, addr(n), {}) for n in cluster.nodes])
        node.flags = []
        node.launch()
    for node in cluster.nodes:
        node.wait_ready()
    cluster[3].execute("INSERT INTO foo(name) VALUES('b')")
    assert cluster.wait_same("SELECT name FROM foo") == [["a"], ["b"]]
    assert {m["addr"] for m in cluster.members().values()} == {addr(n) for n in cluster.nodes}


@pytest.mark.parametrize("content, text", [
    ("{", "failed to read peers file: "),
    ("[]", "failed to read peers file: need at least one voter in configuration: {[]}"),
    ('[{"id":"1","address":"127.0.0.1:1","non_voter":true}]',
     "failed to read peers file: need at least one voter in configuration: {[{Nonvoter 1 127.0.0.1:1}]}"),
    ('[{"id":"","address":"127.0.0.1:1"}]', "failed to read peers file: empty ID in configuration: "),
    ('[{"id":"1","address":"127.0.0.1:1"},{"id":"1","address":"127.0.0.1:2"}]',
     "failed to read peers file: found duplicate ID in configuration: 1"),
    ('[{"id":"1","address":"127.0.0.1:1"},{"id":"2","address":"127.0.0.1:1"}]',
     "failed to read peers file: found duplicate address in configuration: 127.0.0.1:1"),
    ('[{"id":"1","address":"127.0.0.1"}]',
     "failed to recover node: invalid address in configuration: 127.0.0.1"),
    ('[{"id":"1","address":"http://127.0.0.1:1"}]',
     "failed to recover node: protocol specified in address: http://127.0.0.1:1"),
])
def test_a_bad_peers_file_is_refused_and_stays(node, content, text):
    node.start()
    make_table(node)
    node.stop()
    path = node.in_data("raft", "peers.json")
    with open(path, "w", encoding="ascii") as f:
        f.write(content)
    node.launch()
    assert node.wait_end() == 1
    assert "failed to open store: " + text in node.log().splitlines()[-1]
    os.unlink(path)
    node.start()
    assert node.query("SELECT * FROM foo") == [[1, "a"]]


def test_an_empty_node_has_nothing_to_recover(node):
    os.makedirs(node.in_data("raft"))
    write_peers(node, ("1", addr(node), {}))
    node.launch()
    assert node.wait_end() == 1
    assert "failed to open store: failed to recover node: refused to recover cluster with no initial state" in node.log()


# --- addresses -------------------------------------------------------------------------------


def test_a_lone_node_corrects_its_own_address(node):
    node.start()
    make_table(node)
    node.stop()
    node.raft = free_ports(1)[0]
    node.start()
    wait_until(lambda: node.get("/nodes").json["1"]["addr"] == addr(node), "the new address")
    assert node.get("/nodes").json["1"]["reachable"]


def test_a_taken_raft_port_is_an_early_error(make_node):
    first = make_node("1").start()
    second = make_node("2")
    second.raft = first.raft
    second.launch()
    assert second.wait_end() == 1
    assert ("failed to listen on %s: listen tcp %s: bind: address already in use" % (addr(first), addr(first))
            in second.log())


# --- much data -------------------------------------------------------------------------------


def test_chinook_loaded_through_a_follower_is_the_same_everywhere(cluster, mode):
    cluster.start(3, *mode)
    with open(shared_data("chinook.sql"), "rb") as f:
        answer = cluster.follower().post("/db/load", f.read(), headers={"Content-Type": "text/plain"})
    assert answer.status == 200, answer
    tables = [r[0] for r in cluster[1].query("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    assert "Track" in tables
    for table in tables:
        cluster.wait_same('SELECT * FROM "%s"' % table)
    dumps = {n.get("/db/backup?fmt=sql&noleader").body for n in cluster.nodes}
    assert len(dumps) == 1
    late = cluster.add(*mode)
    cluster.wait_same("SELECT count(*), sum(Milliseconds) FROM Track", late)


def test_flags_that_contradict_each_other_are_refused():
    status, _, err = run("-bootstrap-expect", "3", "-raft-non-voter", "-join", "a:1", "/nonexistent/x")
    assert (status, err) == (1, "fatal: bootstrapping only applicable to voting nodes\n")


def test_a_request_to_a_follower_waits_for_the_successor_of_a_dead_leader(cluster):
    cluster.start(3)
    cluster[1].execute("CREATE TABLE t (n)")
    follower = cluster.follower()
    cluster.leader().kill()
    # Nobody has noticed yet: the leader cannot be dialled, so the write was certainly not run and goes to the next one.
    assert follower.execute("INSERT INTO t VALUES (1)") == [{"last_insert_id": 1, "rows_affected": 1}]
    assert follower.query("SELECT n FROM t") == [[1]]
