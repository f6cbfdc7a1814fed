"""Idempotency-Key: a write is applied at most once, whatever is sent again where, and its answer stays the same."""
import threading

import pytest

from conftest import wait_until

TABLE = "CREATE TABLE t (n INTEGER PRIMARY KEY, v)"


def execute(node, key, *statements, params="", **more):
    return node.post("/db/execute" + params, list(statements), headers={"Idempotency-Key": key}, **more)


def request(node, key, *statements, params="", **more):
    return node.post("/db/request" + params, list(statements), headers={"Idempotency-Key": key}, **more)


def rows(node, params=""):
    return node.query("SELECT n, v FROM t ORDER BY n", params=params)


def test_a_retry_changes_nothing_and_gets_the_first_answer(running):
    running.execute(TABLE)
    first = execute(running, "k", "INSERT INTO t(v) VALUES ('a')", params="?raft_index")
    running.execute("INSERT INTO t(v) VALUES ('b')")
    assert first.json["results"] == [{"last_insert_id": 1, "rows_affected": 1}]
    for _ in range(3):
        assert execute(running, "k", "INSERT INTO t(v) VALUES ('a')", params="?raft_index").json == first.json
    assert rows(running) == [[1, "a"], [2, "b"]]


def test_rows_and_errors_are_told_again_in_the_form_that_is_asked_for(running):
    running.execute(TABLE)
    ask = ("INSERT INTO t(v) VALUES (x'0102') RETURNING n, v", "INSERT INTO nowhere VALUES (1)", "SELECT count(*) FROM t")
    first = request(running, "k", *ask)
    assert first.results[1] == {"error": "no such table: nowhere"} and first.results[2]["values"] == [[1]]
    running.execute("INSERT INTO t(v) VALUES (1)")
    assert request(running, "k", *ask).body == first.body
    again = request(running, "k", *ask, params="?associative").results
    assert again[0]["rows"] == [{"n": 1, "v": first.results[0]["values"][0][1]}]


def test_a_key_stands_for_one_request(running):
    running.execute(TABLE)
    assert execute(running, "k", ["INSERT INTO t(v) VALUES (?)", 1]).status == 200
    for other in (["INSERT INTO t(v) VALUES (?)", 2], ["INSERT INTO t(v) VALUES (?)", 1.0], "INSERT INTO t(v) VALUES (1)"):
        answer = execute(running, "k", other)
        assert (answer.status, answer.text) == (422, "the idempotency key was used for another request\n")
    assert execute(running, "k", ["INSERT INTO t(v) VALUES (?)", 1], params="?transaction").status == 422
    assert request(running, "k", ["INSERT INTO t(v) VALUES (?)", 1]).status == 422
    assert execute(running, "K", ["INSERT INTO t(v) VALUES (?)", 2]).status == 200
    assert rows(running) == [[1, 1], [2, 2]]


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
def test_a_bad_key_is_refused(running, key):
    running.execute(TABLE)
    answer = execute(running, key.encode("utf-8").decode("latin-1"), "INSERT INTO t(v) VALUES (1)")
    assert (answer.status, answer.text) == (400, "Idempotency-Key must be 1 to 255 printable characters\n")
    assert rows(running) == []


def test_a_queued_write_cannot_have_a_key(running):
    answer = execute(running, "k", "SELECT 1", params="?queue")
    assert (answer.status, answer.text) == (400, "Idempotency-Key cannot be used with queue\n")


def test_a_read_has_no_use_for_a_key(running):
    running.execute(TABLE)
    assert request(running, "k", "SELECT count(*) FROM t").results[0]["values"] == [[0]]
    running.execute("INSERT INTO t(v) VALUES (1)")
    assert request(running, "k", "SELECT count(*) FROM t").results[0]["values"] == [[1]]


def test_results_that_are_too_large_are_not_told_again_but_the_write_is_not_repeated(running):
    running.execute(TABLE)
    ask = "INSERT INTO t(v) VALUES (hex(zeroblob(60000))) RETURNING v"
    assert len(request(running, "k", ask).results[0]["values"][0][0]) == 120000
    again = request(running, "k", ask)
    assert again.status == 200 and "too large to be kept" in again.json["error"]
    assert running.one("SELECT count(*) FROM t") == 1


def test_a_statement_error_is_an_answer_like_another(running):
    running.execute(TABLE)
    assert "error" in execute(running, "k", "INSERT INTO later VALUES (1)").results[0]
    running.execute("CREATE TABLE later (n)")
    assert execute(running, "k", "INSERT INTO later VALUES (1)").results == [{"error": "no such table: later"}]
    assert running.one("SELECT count(*) FROM later") == 0


@pytest.mark.parametrize("snapshot", [False, True], ids=["log", "snapshot"])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_key_survives_a_restart(running, snapshot, end):
    running.execute(TABLE)
    first = execute(running, "k", "INSERT INTO t(v) VALUES ('a')", params="?raft_index")
    if snapshot:
        assert running.post("/snapshot?trailing_logs=1").status == 200
        running.execute("INSERT INTO t(v) VALUES ('b')")
    getattr(running, end)()
    running.start()
    before = rows(running)
    assert execute(running, "k", "INSERT INTO t(v) VALUES ('a')", params="?raft_index").json == first.json
    assert rows(running) == before


def test_a_key_is_known_to_every_node_and_to_the_next_leader(cluster):
    cluster.start(3)
    cluster[1].execute(TABLE)
    follower, leader = cluster.follower(), cluster.leader()
    first = execute(follower, "k", "INSERT INTO t(v) VALUES ('a')", params="?raft_index")
    assert first.status == 200
    for node in cluster.nodes:
        assert execute(node, "k", "INSERT INTO t(v) VALUES ('a')", params="?raft_index").json == first.json
        answer = execute(node, "k", "INSERT INTO t(v) VALUES ('b')")
        assert answer.status == 422, answer
    leader.kill()
    assert execute(follower, "k", "INSERT INTO t(v) VALUES ('a')", params="?raft_index").json == first.json
    assert rows(follower) == [[1, "a"]]


def test_a_key_reaches_a_node_that_joins_by_a_snapshot(cluster):
    cluster.start(2)
    cluster[1].execute(TABLE)
    first = execute(cluster[1], "k", "INSERT INTO t(v) VALUES ('a')")
    assert cluster.leader().post("/snapshot?trailing_logs=1").status == 200
    cluster[1].execute("INSERT INTO t(v) VALUES ('b')")
    cluster.add()
    cluster.wait_voters(3)
    assert cluster.leader().post("/leader?wait", '{"id": "3"}', headers={"Content-Type": "application/json"}).status == 200
    wait_until(lambda: cluster.leader_id(cluster[3]) == "3", "the new node to lead")
    assert execute(cluster[3], "k", "INSERT INTO t(v) VALUES ('a')").json == first.json
    assert rows(cluster[3]) == [[1, "a"], [2, "b"]]


def test_many_at_once_with_one_key_are_one(running):
    running.execute(TABLE)
    answers = []

    def ask():
        answers.append(execute(running, "k", "INSERT INTO t(v) VALUES ('a')").body)
    threads = [threading.Thread(target=ask) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(answers) == 16 and len(set(answers)) == 1
    assert rows(running) == [[1, "a"]]
