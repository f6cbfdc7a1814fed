"""Users and permissions: on the HTTP port, between nodes, and when their file changes."""
import json
import os
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from certificates import Authority
from conftest import BIN, PATIENCE, RQLITE, Cluster, basic, run, wait_until

# crypt(3) of "secret"
BCRYPT = "$2b$04$T6dYb0/u4KDETiwrs3fVmODIFh72wFWcxV1DNlI3KWZMuL160cDCW"
BCRYPT_2Y = "$2y$04$1mvOh4BpxnX31DpptK5Z/OmxjsSVyiTgZWgliDel8OSG2Cn1uNE6K"
SHA512 = "$6$8CRlGy/tXAR/afrc$P5pwAA5YBNat1PZLWm3MK.uiDVD1xq9BYprSJGfp4hdJHdtrB.v8l/s.bJGsaqLCHDH20xoecbQTApIo0ODl41"
YESCRYPT = "$y$j75$yKSJ9iIO29F20CG330uG//$ZlOTtLoXVpURhllTr.9LP98M7Inj66PwpWit7K3rNyC"

PERMISSIONS = ["join", "join-read-only", "join-read-replica", "remove", "execute", "query", "status", "ready", "backup",
               "load", "snapshot", "leader-ops", "ui"]
ADMIN = {"username": "admin", "password": "a:d", "perms": ["all"]}  # a colon may be in a password

SELECT = "/db/query?q=SELECT+1"
# What may be asked of a node, without an effect that would matter here; and who may.
ENDPOINTS = [
    ("POST", "/db/execute", ["SELECT 1"], "execute"),
    ("POST", "/db/execute?queue", ["SELECT 1"], "execute"),
    ("GET", SELECT, None, "query"),
    ("GET", SELECT + "&level=none", None, "query"),
    ("POST", "/db/query", ["SELECT 1"], "query"),
    ("POST", "/db/request", ["SELECT 1"], "query execute"),
    ("GET", "/db/sql?q=SELECT+1", None, "query"),
    ("POST", "/db/sql", ["SELECT 1"], "query"),
    ("GET", "/db/backup", None, "backup"),
    ("GET", "/db/backup?fmt=sql", None, "backup"),
    ("POST", "/db/load", "SELECT 1", "load"),
    ("POST", "/boot", "x", "load"),
    ("POST", "/snapshot", None, "snapshot"),
    ("POST", "/reap", None, "snapshot"),
    ("DELETE", "/remove", {"id": "nobody"}, "remove"),
    ("GET", "/leader", None, "leader-ops"),
    ("GET", "/nodes", None, "status"),
    ("GET", "/readyz", None, "ready"),
    ("GET", "/readyz?noleader", None, "ready"),
    ("GET", "/status", None, "status"),
    ("GET", "/licenses", None, "status"),
    ("GET", "/metrics", None, "status"),
    ("GET", "/debug/vars", None, "status"),
    ("GET", "/debug/pprof/cmdline", None, "status"),
    ("GET", "/console/", None, "ui"),
    ("POST", "/notify", {"id": "x", "addr": "127.0.0.1:1"}, "join"),
    ("POST", "/join", "{}", "join|join-read-only|join-read-replica"),
]


def user(name, password, *perms):
    return {"username": name, "password": password, "perms": list(perms)}


def each_with_one():
    """admin, and a user named after each permission, who has nothing but that."""
    return [ADMIN] + [user(p, "pw-" + p, p) for p in PERMISSIONS]


def write_users(path, users):
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(users if isinstance(users, str) else json.dumps(users))
    os.rename(path + ".new", path)


@pytest.fixture
def users_file(directory):
    return os.path.join(directory, "users.json")


@pytest.fixture
def guarded(make_node, users_file):
    """A function that starts a node with these users."""
    def start(users, *flags):
        write_users(users_file, users)
        node = make_node()
        node.login = "admin:a:d"
        return node.start("-auth", users_file, *flags)
    return start


def as_user(login):
    return {"Authorization": basic(login)}


def refused(answer):
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="rqlite"'
    if answer.status == 401:
        assert answer.body == b""
    return answer.status == 401


# --- one node -----------------------------------------------------------------------------------


def test_each_permission_opens_its_endpoints_and_no_other(guarded):
    node = guarded(each_with_one() + [user("both", "b", "query", "execute")])
    for method, path, body, needed in ENDPOINTS:
        for p in PERMISSIONS:
            allowed = p in needed.split("|")
            answer = node.ask(method, path, body, headers=as_user("%s:pw-%s" % (p, p)))
            assert refused(answer) == (not allowed), (method, path, p, answer)
        for login, allowed in (("admin:a:d", True), ("admin:a", False), ("admin:", False), ("nobody:a:d", False),
                               ("*:a:d", False), (":", False), ("both:b", needed in ("query", "execute", "query execute"))):
            answer = node.ask(method, path, body, headers=as_user(login))
            assert refused(answer) == (not allowed), (method, path, login, answer)


def test_everybody_has_what_the_star_has_whatever_they_send(guarded):
    node = guarded([ADMIN, user("*", "star", "query", "ready"), user("e", "e", "execute")])
    for authorization in ("", "Basic", "Bearer x", basic("admin:wrong"), basic("*:star"), basic("nobody:x")):
        headers = {"Authorization": authorization}
        assert node.get(SELECT, headers=headers).status == 200
        assert node.get("/readyz", headers=headers).status == 200
        assert refused(node.post("/db/execute", ["SELECT 1"], headers=headers))
        assert refused(node.post("/db/request", ["SELECT 1"], headers=headers))
    # One permission from everybody, the other his own.
    assert node.post("/db/request", ["SELECT 1"], headers=as_user("e:e")).status == 200


def test_what_names_nobody_is_refused(guarded):
    node = guarded([ADMIN])
    right = basic("admin:a:d")
    assert node.get(SELECT, headers={"Authorization": right}).status == 200
    assert node.get(SELECT, headers={"Authorization": right.replace("Basic", "bASIC")}).status == 200
    for value in ("", "Basic", "Basic ", "Basic !", "Basic YWRtaW4=", "Bearer " + right[6:], right[:-1], right + "=",
                  right.replace("Basic ", "Basic"), "Basic  " + right[6:], basic("admin:a:d\0"), basic("ADMIN:a:d"),
                  basic("admin:" + "x" * 5000)):
        assert refused(node.get(SELECT, headers={"Authorization": value})), value
    node.login = None
    assert refused(node.get(SELECT))


def test_the_order_of_checks(guarded):
    node = guarded([ADMIN])
    node.login = None
    for path in (SELECT, "/nope", "/status?timeout=x"):
        answer = node.ask("OPTIONS", path)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type, Authorization"
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="rqlite"'
    assert node.get("/db/query?timeout=x").status == 400
    assert node.get("/nope?timeout=x").status == 400
    assert node.get("/nope").status == 404
    assert node.get("/").status == 302 and node.get("/console").status == 301
    # Nobody learns about methods who may not ask.
    assert refused(node.get("/db/execute"))
    assert refused(node.ask("PUT", "/readyz"))
    assert node.get("/db/execute", headers=as_user("admin:a:d")).status == 405
    # A body is not looked at before its sender is.
    assert refused(node.post("/db/execute", "nonsense"))
    assert refused(node.post("/db/execute?queue", "nonsense"))


def test_the_large_body_of_one_who_may_not_is_not_taken(guarded):
    node = guarded([ADMIN, user("b", BCRYPT, "load")])
    node.login = None

    def answer(headers, path="/db/load"):
        # The body never comes: whoever waited for it would wait in vain.
        return node.raw(("POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, headers)).encode(), half_close=True).decode()

    large = "Content-Length: 90000000000\r\n"
    for headers in (large, "Transfer-Encoding: chunked\r\n", large + "Authorization: %s\r\n" % basic("x:"[:1]),
                    large + "Expect: 100-continue\r\n"):
        got = answer(headers)
        assert got.startswith("HTTP/1.1 401 Unauthorized\r\n") and "Connection: close" in got, got
    assert answer(large, "/boot").startswith("HTTP/1.1 401 ")
    assert answer(large, "/db/load?timeout=x").startswith("HTTP/1.1 400 ")
    # With some permission to ask for, it is taken.
    load = "CREATE TABLE t(a);" + "INSERT INTO t VALUES(1);" * 10000
    assert node.post("/db/load", load, headers=as_user("b:secret")).status == 200


def test_types_of_refusals(guarded):
    node = guarded([ADMIN])
    node.login = None
    for path, kind in (("/db/query", "application/json; charset=utf-8"), ("/licenses", "text/plain; charset=utf-8"),
                       ("/readyz", None), ("/db/backup", None), ("/console/", None)):
        assert node.get(path).headers.get("Content-Type") == kind, path


def test_status_and_counters(guarded):
    node = guarded([ADMIN])
    assert node.get("/status").json["http"]["auth"] == "enabled"

    def counters():
        http = node.get("/debug/vars").json["http"]
        return http["auth_ok"], http["auth_fail"]

    ok, fail = counters()
    node.get(SELECT, headers=as_user("x:y"))
    node.post("/db/request", ["SELECT 1"])
    node.ask("OPTIONS", SELECT)
    node.get("/nope")
    assert counters() == (ok + 2, fail + 1)  # the second look counts itself


def test_hashes_are_checked_as_hashes_only(guarded):
    hashes = {"b": BCRYPT, "y": BCRYPT_2Y, "s": SHA512, "n": YESCRYPT}
    node = guarded([ADMIN] + [user(name, h, "query") for name, h in hashes.items()] + [user("plain", "secret2", "query")])
    for name, h in hashes.items():
        for _ in range(2):
            assert node.get(SELECT, headers=as_user(name + ":secret")).status == 200
            assert refused(node.get(SELECT, headers=as_user(name + ":Secret")))
        assert refused(node.get(SELECT, headers=as_user(name + ":" + h)))
        assert refused(node.post("/db/execute", ["SELECT 1"], headers=as_user(name + ":secret")))
    assert node.get(SELECT, headers=as_user("plain:secret2")).status == 200
    assert refused(node.get(SELECT, headers=as_user("plain:secret")))
    assert "secret" not in node.log()


def test_requests_wait_in_order_behind_one_that_is_hashed(guarded):
    node = guarded([ADMIN, user("b", BCRYPT, "query")])
    ask = "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%s\r\n"
    data = "".join(ask % ("/db/query?q=SELECT+%d" % i, basic(login), "Connection: close\r\n" if i == 4 else "")
                   for i, login in enumerate(["b:wrong", "b:secret", "admin:a:d", "b:other", "b:secret"]))
    answers = node.raw(data.encode()).decode().split("HTTP/1.1 ")[1:]
    assert [a[:3] for a in answers] == ["401", "200", "200", "401", "200"]
    assert "[[1]]" in answers[1] and "[[2]]" in answers[2] and "[[4]]" in answers[4]


def test_entries_inherit_nothing(guarded):
    node = guarded([ADMIN, {"username": "none", "perms": ["all"]}, {"username": "perms", "password": "p"}])
    for login in ("none:", "none:a:d", "perms:p"):
        assert refused(node.get(SELECT, headers=as_user(login)))


@pytest.mark.parametrize("text, words", [
    ("", "invalid JSON"), ("[{]", "invalid JSON"), ("{}", "not a JSON array"),
    ('[{"username":"u","password":"$2b$zz"}]', "a hash that this system does not know")])
def test_a_malformed_file_ends_the_start(node, users_file, text, words):
    write_users(users_file, text)
    node.launch("-auth", users_file)
    assert node.wait_end() == 1
    last = node.log().splitlines()[-1]
    assert "failed to get credential store: " + users_file in last and words in last


def test_a_missing_file_is_fatal_before_anything_else(directory):
    status, _, err = run("-auth", "/nonexistent/users.json", os.path.join(directory, "d"))
    assert (status, err) == (1, "fatal: /nonexistent/users.json does not exist\n")


# --- the file changes ---------------------------------------------------------------------------


def test_a_changed_file_is_taken_up_while_requests_run(guarded, users_file):
    node = guarded([ADMIN, user("b", BCRYPT, "query"), user("p", "old", "query")])
    stop, wrong = threading.Event(), []

    def client():
        c = node.connect()
        while not stop.is_set():
            status = node.get(SELECT, connection=c).status
            if status != 200:
                wrong.append(status)
        c.close()

    threads = [threading.Thread(target=client) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        assert node.get(SELECT, headers=as_user("b:secret")).status == 200
        write_users(users_file, [ADMIN, user("b", "plain", "query"), user("p", "new", "query")])
        wait_until(lambda: node.get(SELECT, headers=as_user("p:new")).status == 200, "the new password")
        assert refused(node.get(SELECT, headers=as_user("p:old")))
        assert refused(node.get(SELECT, headers=as_user("b:secret")))
        node.wait_log("credentials read again from " + users_file)
        write_users(users_file, '[{"username":"p","password":"thi')
        line = node.wait_log("those from before stay in force")
        assert "invalid JSON" in line and "thi" not in line.split("force")[1].replace(users_file, "")
        assert node.get(SELECT, headers=as_user("p:new")).status == 200
        os.unlink(users_file)
        node.wait_log("open " + users_file)
        assert node.get(SELECT, headers=as_user("p:new")).status == 200
        write_users(users_file, [ADMIN])
        wait_until(lambda: node.get(SELECT, headers=as_user("p:new")).status == 401, "the last file")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not wrong


def test_hangup_reads_the_file_again(guarded, users_file):
    node = guarded([ADMIN])
    node.process.send_signal(signal.SIGHUP)
    node.wait_log('received signal "hangup"')
    node.wait_log("credentials read again from " + users_file)
    assert node.get(SELECT).status == 200


# --- a cluster ----------------------------------------------------------------------------------

JOINER = user("joiner", "j", "join", "remove")


class Guarded(Cluster):
    """A cluster each of whose nodes has a users file of its own."""

    def __init__(self, make_node, directory):
        super().__init__(make_node)
        self.directory = directory

    def users(self, number):
        return os.path.join(self.directory, "users-%d.json" % number)

    def add(self, *flags, users=(), join_as="joiner", **more):
        number = len(self.nodes) + 1
        write_users(self.users(number), [ADMIN, JOINER, *users])
        as_whom = ("-join-as", join_as) if join_as else ()
        return super().add("-auth", self.users(number), *as_whom, *flags, **more)


@pytest.fixture
def guarded_cluster(make_node, directory):
    def make(node_id="1"):
        node = make_node(node_id)
        node.login = "admin:a:d"
        return node
    return Guarded(make, directory)


REMOTE = [
    ("POST", "/db/execute", ["SELECT 1"], "remote Execute not authorized"),
    ("GET", SELECT, None, "remote query not authorized"),
    ("POST", "/db/request", ["SELECT 1"], "remote Request not authorized"),
    ("GET", "/db/backup", None, "remote backup not authorized"),
    ("POST", "/db/load", "SELECT 1", "remote load not authorized"),
    ("POST", "/db/load", b"SQLite format 3\0" + bytes(200), "remote load not authorized"),
    ("DELETE", "/remove", {"id": "nobody"}, "remote remove node not authorized"),
    ("POST", "/leader?wait", None, "remote stepdown not authorized"),
]


def test_the_leader_checks_what_a_follower_forwards(guarded_cluster):
    c = guarded_cluster
    leader = c.add(users=[user("h", BCRYPT, "query")])
    follower = c.add(users=[user("u", "u", "all"), user("h", BCRYPT, "all")])
    c.wait_voters(2)
    assert follower.execute("CREATE TABLE t(a)") == [{}]
    for method, path, body, text in REMOTE:  # the follower would let them
        answer = follower.ask(method, path, body, headers=as_user("u:u"))
        assert (answer.status, answer.text) == (401, text + "\n"), (path, answer)
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="rqlite"'
    assert follower.get(SELECT + "&level=none", headers=as_user("u:u")).status == 200
    for _ in range(2):
        assert follower.get(SELECT, headers=as_user("h:secret")).status == 200
        answer = follower.post("/db/execute", ["SELECT 1"], headers=as_user("h:secret"))
        assert (answer.status, answer.text) == (401, "remote Execute not authorized\n")
    assert follower.get("/db/backup").body.startswith(b"SQLite format 3")
    assert c.members(leader).keys() == {"1", "2"}


def test_queued_writes_through_a_follower_need_the_permission_there_only(guarded_cluster):
    c = guarded_cluster
    c.add()
    follower = c.add(users=[user("w", "w", "execute"), user("q", "q", "query")])
    c.wait_voters(2)
    follower.execute("CREATE TABLE t(a)")
    assert refused(follower.post("/db/execute?queue", ["INSERT INTO t VALUES(1)"], headers=as_user("q:q")))
    answer = follower.post("/db/execute?queue&wait", ["INSERT INTO t VALUES(2)"], headers=as_user("w:w"))
    assert answer.status == 200
    assert follower.query("SELECT a FROM t") == [[2]]


def test_writes_keep_coming_while_passwords_are_hashed_at_the_leader(guarded_cluster):
    c = guarded_cluster
    names = ["u%d" % i for i in range(12)]
    users = [user(n, SHA512 if i % 2 else BCRYPT, "execute") for i, n in enumerate(names)]
    c.add(users=users)
    follower = c.add(users=users)
    c.wait_voters(2)
    follower.execute("CREATE TABLE t(a)")
    statuses = []

    def client(name):
        for _ in range(5):
            answer = follower.post("/db/execute", ["INSERT INTO t VALUES(1)"], headers=as_user(name + ":secret"))
            statuses.append((answer.status, "error" in answer.text))

    threads = [threading.Thread(target=client, args=(n,)) for n in names]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert statuses == [(200, False)] * 60
    assert follower.one("SELECT count(*) FROM t") == 60


def test_joining_needs_the_permission(guarded_cluster):
    c = guarded_cluster
    leader = c.add(users=[user("replica", "r", "join-read-replica"), user("other", "o", "query")])

    def fails(join_as, users, *flags):
        node = c.add(*flags, "-join-attempts", "2", "-join-interval", "10ms", join_as=join_as, users=users, launch=True)
        assert node.wait_end() == 1
        c.nodes.remove(node)
        return node.log()

    out = fails(None, [])
    assert out.count("unauthorized (did you forget to set -join-as?)") == 2
    out = fails("other", [user("other", "o", "all")])
    assert out.count("failed to join via node at 127.0.0.1:%d: unauthorized" % leader.raft) == 2
    assert "did you forget" not in out
    fails("joiner", [user("joiner", "wrong", "all")])
    fails("replica", [user("replica", "r")])  # as a voter
    out = fails("nobody", [])
    assert "joining anonymously" in out and "did you forget" in out
    out = fails("h", [user("h", BCRYPT, "all")])
    assert "is a hash" in out.splitlines()[-1] and "failed to join" not in out
    assert c.members(leader).keys() == {"1"}

    c.add("-raft-non-voter", join_as="replica", users=[user("replica", "r")])
    c.wait_members(leader, lambda m: len(m) == 2 and not m["2"]["voter"], "a replica")
    c.add()
    c.wait_voters(2)
    third = c.nodes[2]
    third.restart()
    c.wait_voters(2)


def test_forming_a_group_needs_the_permission(guarded_cluster):
    c = guarded_cluster
    nodes = []
    for i in range(3):
        node = c.make_node(str(i + 1))
        write_users(c.users(i + 1), [ADMIN, JOINER])
        nodes.append(node)
    where = ",".join("127.0.0.1:%d" % n.raft for n in nodes)
    c.nodes = nodes
    for i, node in enumerate(nodes):
        node.launch("-auth", c.users(i + 1), "-join-as", "joiner", "-bootstrap-expect", "3", "-join", where)
    for node in nodes:
        node.wait_ready()
    c.wait_voters(3)
    nodes[1].execute("CREATE TABLE t(a)")


def test_a_node_leaves_as_the_user_it_joined_as(guarded_cluster):
    c = guarded_cluster
    leader = c.add()
    c.add("-raft-cluster-remove-shutdown")
    c.wait_voters(2)
    c[2].stop()
    c.wait_members(leader, lambda m: set(m) == {"1"}, "one member")


def test_join_of_v5_to_v7(guarded_cluster):
    c = guarded_cluster
    leader = c.add(users=[user("replica", "r", "join-read-only"), user("q", "q", "query")])
    body = {"id": "9", "addr": "127.0.0.1:%d" % leader.raft, "voter": True}
    answer = leader.post("/join", body, headers=as_user("replica:r"))
    assert (answer.status, answer.text) == (401, "joining as voter not allowed\n")
    assert refused(leader.post("/join", body, headers=as_user("q:q")))
    assert refused(leader.post("/notify", body, headers=as_user("replica:r")))
    assert leader.post("/notify", body, headers=as_user("joiner:j")).status == 200
    body = {"id": "9", "addr": "127.0.0.1:1", "voter": False}
    assert leader.post("/join", body, headers=as_user("replica:r")).status == 200
    assert c.members(leader)["9"]["voter"] is False


def test_joining_by_an_http_address(guarded_cluster):
    c = guarded_cluster
    leader = c.add(users=[user("status", "s", "status", "join")])
    joiner = c.make_node("2")
    write_users(c.users(2), [ADMIN])
    c.nodes.append(joiner)
    # The user in the address for HTTP; -join-as for the Raft port.
    write_users(c.users(2), [ADMIN, user("status", "s")])
    joiner.start("-auth", c.users(2), "-join-as", "status", "-join", "http://status:s@127.0.0.1:%d" % leader.http)
    c.wait_voters(2)


class Listener:
    """Answers everything with a refusal, as an HTTP server does, with or without TLS; requests are kept."""

    def __init__(self, context=None):
        self.context = context
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.requests = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                s, _ = self.socket.accept()
            except OSError:
                return
            with s:
                try:
                    if self.context and s.recv(1, socket.MSG_PEEK) == b"\x16":
                        s = self.context.wrap_socket(s, server_side=True)
                    data = s.recv(65536)
                except OSError:
                    continue
                if data.startswith((b"GET", b"POST")):
                    self.requests.append(data.decode("latin-1"))
                try:
                    s.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except OSError:
                    pass


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_stranger_at_a_raft_address_is_not_told_a_password(make_node, users_file, directory, encrypted):
    ca = Authority(directory)
    context = None
    if encrypted:
        shown = ca.issue("elsewhere")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shown.cert, shown.key)
    stranger = Listener(context)
    write_users(users_file, [ADMIN, user("joiner", "secret", "join")])
    flags = ["-auth", users_file, "-join-as", "joiner", "-join", "127.0.0.1:%d" % stranger.port, "-join-attempts", "1"]
    if encrypted:
        pair = ca.issue("node")
        flags += ["-node-cert", pair.cert, "-node-key", pair.key, "-node-ca-cert", ca.cert]
    node = make_node("2")
    node.launch(*flags)
    assert node.wait_end() == 1
    stranger.socket.close()
    assert stranger.requests and "Authorization" not in stranger.requests[0], node.log()
    # Without TLS what seems to be a node's HTTP port is asked as the user, as its Raft port would have been.
    assert any("Authorization" in r for r in stranger.requests) == (not encrypted)


def test_passwords_in_addresses_are_not_shown(make_node):
    node = make_node("2")
    join = "http://joiner:s%40cret@127.0.0.1:1,http://x:s@cret@127.0.0.1:1,127.0.0.1:1"
    node.launch("-join", join, "-join-attempts", "100000", "-join-interval", "10ms")
    shown = join.replace("s%40cret", "***").replace("s@cret", "***")
    node.wait_log("sleeping")
    for path in ("/debug/vars", "/debug/pprof/cmdline", "/status"):
        assert "cret@" not in node.get(path).text
    assert shown in node.get("/debug/vars?key=cmdline").json["cmdline"]
    assert "cret@" not in node.log()
    assert shown in node.wait_log("launch command: ")
    node.kill()


# --- clients ------------------------------------------------------------------------------------


def test_the_shell_logs_in(guarded):
    node = guarded([ADMIN, user("b", BCRYPT, "query", "execute"), user("q", "q", "query")])

    def shell(login, line):
        done = subprocess.run([RQLITE, "-p", str(node.http), "-u", login], input=line + "\n", text=True,
                              capture_output=True, timeout=PATIENCE, check=False)
        return done.stdout + done.stderr

    assert "42" in shell("admin:a:d", "SELECT 6*7 AS x")
    assert "0 row affected" in shell("b:secret", "CREATE TABLE t(a)")
    for login in ("b:wrong", "q:q"):
        assert "unauthorized" in shell(login, "INSERT INTO t VALUES(1)")
    assert node.query("SELECT * FROM t") == []


@pytest.mark.parametrize("connections", ["1", "4"])
def test_rqbench_logs_in(guarded, connections):
    node = guarded([ADMIN, user("b", BCRYPT, "execute")])
    node.execute("CREATE TABLE t(a)")

    def bench(login):
        return subprocess.run([os.path.join(BIN, "rqbench"), "-a", "127.0.0.1:%d" % node.http, "-n", "40", "-u", login,
                               "-c", connections, "INSERT INTO t VALUES(1)"], capture_output=True, text=True,
                              timeout=PATIENCE, check=False)

    assert bench("b:secret").returncode == 0
    assert node.one("SELECT count(*) FROM t") == 40
    bench("b:wrong")
    assert node.one("SELECT count(*) FROM t") == 40
