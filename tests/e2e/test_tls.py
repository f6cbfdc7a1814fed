"""TLS on both ports: who is let in, what is said to the others, certificates that change."""
import concurrent.futures
import os
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from certificates import Authority, openssl, self_signed
from conftest import PATIENCE, RQLITE, read_all, run, wait_until

REFUSED = (OSError, ssl.SSLError)


@pytest.fixture
def ca(directory):
    return Authority(directory)


def http_flags(pair, *more):
    return ["-http-cert", pair.cert, "-http-key", pair.key, *more]


def node_flags(pair, ca, *more):
    return ["-node-cert", pair.cert, "-node-key", pair.key, "-node-ca-cert", ca.cert, *more]


def start(node, context, *flags):
    node.context = context
    return node.start(*flags)


def curl(node, path, *args, body=None):
    """Status, HTTP version and body, as curl gets them."""
    extra = ["-H", "Content-Type: application/json", "--data-binary", "@-"] if body is not None else []
    done = subprocess.run(["curl", "-sS", "-w", "\n%{http_code} %{http_version}", *args, *extra,
                           "https://localhost:%d%s" % (node.http, path)],
                          input=(body or "").encode(), capture_output=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr.decode()
    text, last = done.stdout.decode().rsplit("\n", 1)
    return (*last.split(" "), text)


def wrapped(node, context, port=None):
    s = socket.create_connection(("127.0.0.1", port or node.http), PATIENCE)
    return context.wrap_socket(s, server_hostname="127.0.0.1")


def issuer(node, context):
    """Serial number of the certificate that is shown."""
    with wrapped(node, context) as s:
        return s.getpeercert()["serialNumber"]


# --- HTTPS --------------------------------------------------------------------------------------------


@pytest.fixture
def https(node, ca):
    return start(node, ca.context(), *http_flags(ca.issue("server")))


@pytest.mark.parametrize("version, shown", [("--http2", "2"), ("--http1.1", "1.1"), ("--http1.0", "1.1")])
def test_every_version_of_http_is_served(https, ca, version, shown):
    rows = 2000
    assert curl(https, "/db/execute", "--cacert", ca.cert, version, body='["CREATE TABLE t (a, b)"]')[0] == "200"
    body = '[["INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) ' \
           'SELECT i, hex(zeroblob(500)) FROM n", %d]]' % rows
    status, got, text = curl(https, "/db/execute", "--cacert", ca.cert, version, body=body)
    assert (status, got) == ("200", shown if version != "--http1.0" else got)
    assert '"rows_affected":%d' % rows in text
    status, got, text = curl(https, "/db/query?q=SELECT+*+FROM+t", "--cacert", ca.cert, version)
    assert status == "200" and text.count("00" * 500) == rows


def test_large_bodies_go_both_ways(https):
    blob = os.urandom(3 << 20).hex()
    https.execute("CREATE TABLE t (a)")
    https.execute(["INSERT INTO t VALUES (?)", blob])
    connection = https.connect()
    for _ in range(3):
        assert https.query("SELECT a FROM t", connection=connection) == [[blob]]


def test_a_slow_reader_gets_it_all(https):
    https.execute("CREATE TABLE t (a)", "INSERT INTO t VALUES (hex(zeroblob(4000000)))")
    with wrapped(https, https.context) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # far less than there is to send
        s.sendall(b"GET /db/query?q=SELECT+a+FROM+t HTTP/1.0\r\n\r\n")
        got = b""
        while piece := s.recv(3000):
            got += piece
    assert got.count(b"0") >= 8000000 and got.endswith(b"]]}]}")


def test_pipelined_requests_in_one_record(https):
    with wrapped(https, https.context) as s:
        s.sendall(b"GET /db/query?q=SELECT+1 HTTP/1.1\r\nHost: x\r\n\r\n" * 200 +
                  b"GET /db/query?q=SELECT+2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = read_all(s)
    assert got.count(b"HTTP/1.1 200 OK") == 201


def test_sessions_are_resumed(https, ca):
    context = ca.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # tickets come with the handshake
    with wrapped(https, context) as s:
        session = s.session
    s = context.wrap_socket(socket.create_connection(("127.0.0.1", https.http), PATIENCE),
                            server_hostname="127.0.0.1", session=session)
    with s:
        assert s.session_reused


@pytest.mark.parametrize("offered, chosen", [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"),
                                             (["http/1.1", "h2"], "h2"), (["spdy/3", "http/1.1"], "http/1.1")])
def test_protocols_are_negotiated(https, ca, offered, chosen):
    context = ca.context()
    context.set_alpn_protocols(offered)
    with wrapped(https, context) as s:
        assert s.selected_alpn_protocol() == chosen


def test_a_protocol_nobody_speaks_is_refused(https, ca):
    context = ca.context()
    context.set_alpn_protocols(["imap"])
    with pytest.raises(ssl.SSLError):
        wrapped(https, context)


def test_old_versions_are_refused(https):
    done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % https.http, "-tls1_1", "-cipher",
                           "DEFAULT@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          timeout=PATIENCE)
    assert done.returncode != 0 and b"protocol version" in done.stderr


def test_renegotiation_is_refused(https):
    done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % https.http, "-tls1_2"],
                          input=b"R\n", capture_output=True, check=False, timeout=PATIENCE)
    assert b"RENEGOTIATING" in done.stdout + done.stderr
    assert b"no renegotiation" in done.stderr, done.stderr


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /db/execute HTTP/1.1\r\n" + b"a" * 100000,
                                  b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"G", b"\x00\x01garbage"])
def test_clear_text_at_the_tls_port_is_told_so(https, said):
    assert https.raw(said, half_close=True) == (
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
    assert https.one("SELECT 1") == 1


def test_garbage_within_a_handshake_costs_its_connection_only(https):
    assert https.raw(b"\x16\x03\x01\x02\x00" + os.urandom(512))[:1] in (b"\x15", b"")
    assert https.raw(b"\x16\x03\x01\xff\xff" + bytes(70000))[:1] in (b"\x15", b"")
    assert https.raw(b"\x16\x03", half_close=True) == b""
    https.wait_log("TLS handshake error from 127.0.0.1:")
    assert https.one("SELECT 1") == 1


def test_stalled_handshakes_keep_nobody_waiting(https):
    stalled = []
    for i in range(100):
        s = socket.create_connection(("127.0.0.1", https.http), PATIENCE)
        s.sendall(b"\x16\x03\x01"[:i % 4])
        stalled.append(s)
    assert https.one("SELECT 1") == 1
    for s in stalled:
        s.close()
    https.stop()  # and it ends in order


def test_a_handshake_has_the_time_of_a_header(https):
    https.restart(*https.flags, "-http-header-timeout", "200ms")
    hello = b"\x16\x03\x01\x02\x00\x01"
    for said in (b"", hello[:1], hello):
        assert https.raw(said) == b""  # closed by the node
    assert https.one("SELECT 1") == 1


def test_tls_at_the_clear_port_is_closed(node):
    node.start()
    for port in (node.http, node.raft):
        with pytest.raises(REFUSED):
            wrapped(node, ssl._create_unverified_context(), port)
    assert node.one("SELECT 1") == 1
    node.wait_log("not our protocol, but a TLS handshake")


def test_what_the_node_says_about_itself(https, ca):
    status = https.get("/status").json
    server = os.path.join(ca.directory, "server")
    assert status["http"]["tls"] == {
        "enabled": "true", "ca_file": "", "cert_file": server + ".pem", "key_file": server + ".key",
        "client_auth": "NoClientCert", "next_protos": ["h2", "http/1.1"]}
    assert status["cluster"]["https"] == "true" and status["mux"]["tls"] == "disabled"
    url = "https://127.0.0.1:%d" % https.http
    assert https.get("/nodes").json["1"]["api_addr"] == url
    https.wait_log("node HTTP API available at " + url)
    https.wait_log("secure HTTPS server enabled with cert %s.pem, key %s.key, mutual TLS disabled" % (server, server))
    assert https.get("/debug/vars?key=http").json["http"]["tls_cert_fetched"] > 0


# --- mutual TLS ---------------------------------------------------------------------------------------


@pytest.fixture
def mutual(node, ca):
    return start(node, ca.context(ca.issue("client", "alice")),
                 *http_flags(ca.issue("server"), "-http-ca-cert", ca.cert, "-http-verify-client",
                             "-http-verify-common-name", "alice"))


def test_a_client_with_the_right_certificate_is_served(mutual):
    assert mutual.one("SELECT 1") == 1
    assert mutual.get("/status").json["http"]["tls"]["client_auth"] == "RequireAndVerifyClientCert"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("who, line", [
    ("nobody", "the other side has no certificate"),
    ("stranger", "bad certificate: unable to get local issuer certificate"),
    ("self-signed", "bad certificate: self-signed certificate"),
    ("expired", "bad certificate: certificate has expired"),
    ("bob", 'bad certificate: common name is "bob", not "alice"')])
def test_every_other_client_is_refused(mutual, ca, directory, version, who, line):
    pair = {"nobody": lambda: None,
            "stranger": lambda: Authority(directory, "other").issue("stranger", "alice"),
            "self-signed": lambda: self_signed(directory, "own", "alice"),
            "expired": lambda: ca.issue("late", "alice", expired=True),
            "bob": lambda: ca.issue("bob")}[who]()
    right, mutual.context = mutual.context, ca.context(pair)
    mutual.context.maximum_version = version
    with pytest.raises(REFUSED):
        mutual.get("/status")
    mutual.wait_log(line)
    mutual.context = right
    assert mutual.one("SELECT 1") == 1


def test_a_certificate_for_servers_is_none_for_clients(mutual, ca, directory):
    config = os.path.join(directory, "ext")
    with open(config, "w", encoding="ascii") as f:
        f.write("extendedKeyUsage = serverAuth\n")
    pair = ca.issue("alice")
    openssl("x509", "-req", "-in", pair.cert + ".csr", "-CA", ca.cert, "-CAkey", ca.path + ".key", "-out", pair.cert,
            "-extfile", config, "-days", "10")
    right, mutual.context = mutual.context, ca.context(pair)
    with pytest.raises(REFUSED):
        mutual.get("/status")
    mutual.context = right


def test_a_resumed_session_keeps_what_was_verified(mutual):
    mutual.context.maximum_version = ssl.TLSVersion.TLSv1_2
    with wrapped(mutual, mutual.context) as s:
        session = s.session
    s = mutual.context.wrap_socket(socket.create_connection(("127.0.0.1", mutual.http), PATIENCE),
                                   server_hostname="127.0.0.1", session=session)
    with s:
        assert s.session_reused
        s.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        assert b"200 OK" in read_all(s)


# --- files --------------------------------------------------------------------------------------------


def test_unusable_files_end_the_start(directory, ca, node):
    pair, other = ca.issue("server"), ca.issue("other")
    not_pem = os.path.join(directory, "words")
    with open(not_pem, "w", encoding="ascii") as f:
        f.write("nothing\n")
    protected = os.path.join(directory, "protected")
    openssl("pkey", "-in", pair.key, "-aes256", "-passout", "pass:secret", "-out", protected)
    for kind, text in (("http", "failed to start HTTP server"), ("node", "failed to enable node-to-node encryption")):
        for cert, key, words in ((not_pem, pair.key, "certificate " + not_pem),
                                 (pair.cert, other.key, "key %s: key values mismatch" % other.key),
                                 (pair.cert, protected, "key " + protected)):
            status, _, err = run("-http-addr", "127.0.0.1:%d" % node.http, "-raft-addr", "127.0.0.1:%d" % node.raft,
                                 "-%s-cert" % kind, cert, "-%s-key" % kind, key, node.data)
            last = err.splitlines()[-1]
            assert status == 1 and text in last and words in last, err
            assert not os.path.exists(node.data)
    status, _, err = run("-http-cert", "/nowhere", "-http-key", pair.key, node.data)
    assert (status, err) == (1, "fatal: /nowhere does not exist\n")


def test_changed_files_are_read_again(https, ca):
    in_use = ca.issue("server-1")
    https.restart(*http_flags(in_use))
    before = issuer(https, https.context)
    ca.issue("server-2").install(in_use)
    assert issuer(https, https.context) != before
    https.wait_log("TLS files have changed and were read again")


def test_a_broken_pair_leaves_the_old_one_in_use(https, ca):
    in_use, next_one = ca.issue("server-1"), ca.issue("server-2")
    https.restart(*http_flags(in_use))
    before = issuer(https, https.context)
    with open(next_one.cert, "rb") as f, open(in_use.cert, "wb") as out:
        out.write(f.read())  # with the key of the old one
    for _ in range(5):
        assert issuer(https, https.context) == before
    os.rename(in_use.key, in_use.key + ".away")
    for _ in range(5):
        assert issuer(https, https.context) == before
    assert https.log().count("cannot be used, so what they held before stays") == 2
    next_one.install(in_use)
    assert issuer(https, https.context) != before


def test_hangup_reads_all_files_again(node, ca):
    http, between = ca.issue("http-1"), ca.issue("node-1")
    start(node, ca.context(), *http_flags(http), *node_flags(between, ca))
    well, badly = "TLS files were read again", "TLS files cannot be used, so what they held before stays: "

    def hang_up(**expected):
        """What each port says of its files."""
        seen = len(node.log())
        node.process.send_signal(signal.SIGHUP)

        def said():
            lines = node.log()[seen:].splitlines()
            return all(any(line.startswith("[%s] " % port) and text in line for line in lines)
                       for port, text in expected.items())
        wait_until(said, expected)

    hang_up(http=well, mux=well)  # though they are the same
    ca.issue("http-2").install(http)
    ca.issue("node-2").install(between)
    hang_up(http=well, mux=well)
    assert "have changed" not in node.log()  # no handshake was needed
    shown = issuer(node, node.context)

    os.rename(http.key, http.key + ".away")
    hang_up(http=badly, mux=well)
    assert issuer(node, node.context) == shown
    assert node.one("SELECT 1") == 1


def test_hangup_while_requests_are_served(https, ca):
    https.execute("CREATE TABLE t (a)")
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(lambda: [https.execute("INSERT INTO t VALUES (1)") for _ in range(20)]) for _ in range(3)]
        while not all(j.done() for j in jobs):
            https.process.send_signal(signal.SIGHUP)
            concurrent.futures.wait(jobs, 0.01)
        for j in jobs:
            j.result()
    https.process.send_signal(signal.SIGHUP)
    https.stop()


def test_a_changed_ca_decides_about_new_connections(node, ca, directory):
    other = Authority(directory, "other")
    trusted = os.path.join(directory, "trusted")
    alice, bob = ca.issue("alice"), other.issue("bob")

    def trust(*authorities):
        with open(trusted + ".new", "wb") as out:
            for a in authorities:
                with open(a.cert, "rb") as f:
                    out.write(f.read())
        os.rename(trusted + ".new", trusted)

    def is_served(pair):
        node.context = ca.context(pair)
        try:
            return node.get("/readyz").status == 200
        except REFUSED:
            return False

    trust(ca)
    start(node, ca.context(alice), *http_flags(ca.issue("server"), "-http-ca-cert", trusted, "-http-verify-client"))
    assert is_served(alice) and not is_served(bob)
    trust(ca, other)
    assert is_served(alice) and is_served(bob)
    trust(other)
    assert not is_served(alice) and is_served(bob)


def test_no_request_fails_while_certificates_change(https, ca):
    in_use = ca.issue("in-use")
    pairs = [ca.issue("pair-%d" % i) for i in range(3)]
    https.restart(*http_flags(in_use))
    https.execute("CREATE TABLE t (a)")
    stop = threading.Event()

    def work(keep):
        n, connection = 0, https.connect()
        while not stop.is_set():
            https.execute("INSERT INTO t VALUES (1)", connection=connection if keep else None)
            n += 1
        connection.close()
        return n

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(work, i % 2 == 0) for i in range(4)]
        try:
            for i in range(12):
                old = issuer(https, https.context)
                pairs[i % 3].install(in_use)
                wait_until(lambda was=old: issuer(https, https.context) != was, "the new certificate")
        finally:
            stop.set()
        done = sum(j.result() for j in jobs)
    assert https.one("SELECT count(*) FROM t") == done


# --- between nodes ------------------------------------------------------------------------------------


def mutual_flags(ca, name="node"):
    pair = ca.issue(name)
    return [*http_flags(pair, "-http-ca-cert", ca.cert, "-http-verify-client"),
            *node_flags(pair, ca, "-node-verify-client", "-node-verify-common-name", name)]


def test_a_cluster_with_mutual_tls_on_both_ports(cluster, ca):
    flags = [*mutual_flags(ca), "-raft-snap", "50", "-raft-snap-int", "100ms"]
    context = ca.context(ca.issue("client"))
    make, cluster.make_node = cluster.make_node, None

    def with_tls(node_id):
        node = make(node_id)
        node.context = context
        return node

    cluster.make_node = with_tls
    cluster.start(3, *flags)
    leader = cluster.leader()
    follower = next(n for n in cluster.nodes if n is not leader)
    assert all(n["api_addr"].startswith("https://") for n in cluster.members().values())
    assert leader.get("/status").json["mux"]["tls"] == "enabled"
    leader.wait_log("TLS mux serving on")

    # Forwarding, of small things and large ones.
    follower.execute("CREATE TABLE t (a)")
    big = os.urandom(2 << 20).hex()
    follower.execute(["INSERT INTO t VALUES (?)", big])
    assert follower.query("SELECT a FROM t", params="?level=strong") == [[big]]
    location = wait_until(lambda: cluster.follower().post("/db/execute?redirect", ["SELECT 1"]).headers["Location"],
                          "a redirect")
    assert location in ["https://127.0.0.1:%d/db/execute?redirect" % n.http for n in cluster.nodes]

    # A snapshot for who comes late, and one for who was away.
    follower.stop()
    for i in range(150):
        leader.execute(["INSERT INTO t VALUES (?)", i])
    wait_until(lambda: leader.get("/status").json["store"]["raft"]["last_snapshot_index"] not in ("0", 0), "a snapshot")
    follower.start()
    late = cluster.add(*flags)
    cluster.wait_voters(4)
    assert cluster.wait_same("SELECT count(*), sum(length(a)) FROM t", follower, late)[0][0] == 151

    # A leader's end and return.
    leader = cluster.leader().kill()
    cluster.leader().execute("INSERT INTO t VALUES ('after')")
    leader.start()
    cluster.wait_same("SELECT count(*) FROM t")
    assert late.get("/debug/vars?key=mux").json["mux"]["num_tls_cert_fetched"] > 0


@pytest.fixture
def first(make_node, ca):
    """A node that a second may join, or not."""
    return make_node("1").start(*node_flags(ca.issue("one"), ca, "-node-verify-client", "-node-verify-common-name", "two"))


def refused(node, first, *flags):
    """Start a node that must not get in; its last words."""
    node.launch("-join", "127.0.0.1:%d" % first.raft, "-join-attempts", "1", *flags)
    assert node.wait_end() == 1
    assert len(first.get("/nodes?nonvoters").json) == 1
    assert first.one("SELECT 1") == 1
    return node.log()


def test_a_node_with_the_right_certificate_joins(first, ca, make_node):
    node = make_node("2").start("-join", "127.0.0.1:%d" % first.raft, *node_flags(ca.issue("two"), ca))
    node.execute("CREATE TABLE t (a)")
    wait_until(lambda: len(first.get("/nodes").json) == 2, "two members")


@pytest.mark.parametrize("who, here, there", [
    ("wrong name", "our certificate was refused", 'bad certificate: common name is "three", not "two"'),
    ("stranger", "our certificate was refused", "bad certificate: unable to get local issuer certificate"),
    ("expired", "our certificate was refused", "bad certificate: certificate has expired"),
    ("in clear text", "this node's Raft port is encrypted, and the connection is not",
     "this node's Raft port is encrypted, and the connection is not")])
def test_a_node_that_is_not_wanted_cannot_join(first, ca, directory, make_node, who, here, there):
    flags = {"wrong name": lambda: node_flags(ca.issue("three"), ca),
             "stranger": lambda: node_flags(Authority(directory, "other").issue("two"), ca),
             "expired": lambda: node_flags(ca.issue("two", expired=True), ca),
             "in clear text": lambda: []}[who]()
    log = refused(make_node("2"), first, *flags)
    assert here in log and "did you forget to set -join-as?" not in log
    first.wait_log(there)


@pytest.mark.parametrize("cert, flags, words", [
    ({"sans": "DNS:elsewhere"}, [], "bad certificate: it is not valid for 127.0.0.1"),
    ({"sans": "IP:127.0.0.1"}, ["-node-verify-server-name", "db.example"],
     "bad certificate: it is not valid for db.example"),
    ({"sans": "DNS:other,IP:127.0.0.1", "cn": "db.example"}, ["-node-verify-server-name", "db.example"],
     "bad certificate: it is not valid for db.example"),
    ({"sans": None, "cn": "127.0.0.1"}, [], "bad certificate: it is not valid for 127.0.0.1"),
    ({"expired": True}, [], "bad certificate: certificate has expired"),
    ("stranger", [], "bad certificate: unable to get local issuer certificate")])
def test_a_node_that_is_not_who_it_should_be_is_not_joined(ca, directory, make_node, cert, flags, words):
    authority = Authority(directory, "other") if cert == "stranger" else ca
    pair = authority.issue("one", **({} if cert == "stranger" else cert))
    first = make_node("1").start(*node_flags(pair, ca))
    assert words in refused(make_node("2"), first, *node_flags(ca.issue("two"), ca), *flags)
    first.wait_log("closing connection from 127.0.0.1:")
    assert "our certificate was refused by the other side" in first.log()


@pytest.mark.parametrize("cert, flags", [
    ({"sans": "DNS:db.example"}, ["-node-verify-server-name", "db.example"]),
    ({"sans": "DNS:*.db.example"}, ["-node-verify-server-name", "one.db.example"]),
    ({"sans": None, "cn": "db.example"}, ["-node-verify-server-name", "db.example"]),  # as old ones are
    ({"sans": "IP:10.1.2.3"}, ["-node-verify-server-name", "10.1.2.3"]),
    ({"sans": "DNS:elsewhere"}, ["-node-no-verify"]),
    ("stranger", ["-node-no-verify"])])
def test_names_that_are_good_enough(ca, directory, make_node, cert, flags):
    authority = Authority(directory, "other") if cert == "stranger" else ca
    pair = authority.issue("one", **({} if cert == "stranger" else cert))
    first = make_node("1").start(*node_flags(pair, ca), *flags)
    make_node("2").start("-join", "127.0.0.1:%d" % first.raft, *node_flags(pair, ca), *flags)
    wait_until(lambda: len(first.get("/nodes").json) == 2, "two members")


def test_a_node_with_tls_cannot_join_one_in_clear_text(ca, make_node):
    first = make_node("1").start()
    assert "the other side does not speak TLS" in refused(make_node("2"), first, *node_flags(ca.issue("two"), ca))
    first.wait_log("not our protocol, but a TLS handshake")


def test_strangers_at_the_encrypted_raft_port(first):
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00" + os.urandom(512), b"\x16", b"", os.urandom(64)):
        with socket.create_connection(("127.0.0.1", first.raft), PATIENCE) as s:
            s.sendall(said)
            s.shutdown(socket.SHUT_WR)
            read_all(s)
    first.wait_log("not TLS, but an HTTP request")
    assert first.one("SELECT 1") == 1


def test_a_cluster_changes_its_ca_without_a_restart(cluster, ca, directory):
    other = Authority(directory, "other")
    trusted = os.path.join(directory, "trusted")

    def trust(*authorities):
        with open(trusted + ".new", "wb") as out:
            for a in authorities:
                with open(a.cert, "rb") as f:
                    out.write(f.read())
        os.rename(trusted + ".new", trusted)

    pair = ca.issue("node")
    flags = ["-node-cert", pair.cert, "-node-key", pair.key, "-node-ca-cert", trusted, "-node-verify-client"]
    trust(ca)
    cluster.start(2, *flags)
    trust(ca, other)
    other.issue("new").install(pair)
    trust(other)
    late = cluster.add(*flags)
    cluster.wait_voters(3)
    late.execute("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    cluster.wait_same("SELECT * FROM t")


def test_joining_through_https(make_node, ca):
    first = start(make_node("1"), ca.context(), *http_flags(ca.issue("one")))
    url = "https://127.0.0.1:%d" % first.http
    stranger = make_node("2").launch("-join", url, "-join-attempts", "1")
    assert stranger.wait_end() == 1
    make_node("3").start("-join", url, "-http-ca-cert", ca.cert)
    make_node("4").start("-join", url, "-http-no-verify")
    wait_until(lambda: len(first.get("/nodes").json) == 3, "three members")


def test_the_legacy_flag_takes_files_of_the_working_directory(directory, ca, node):
    node.start("-node-encrypt")
    node.wait_log("flag -node-encrypt has no effect in this version")
    assert node.get("/status").json["mux"]["tls"] == "disabled"
    node.stop()
    where = os.path.join(directory, "cwd")
    os.mkdir(where)
    pair = ca.issue("node")
    os.rename(pair.cert, os.path.join(where, "cert.pem"))
    os.rename(pair.key, os.path.join(where, "key.pem"))
    command = ["sh", "-c", 'cd "$0" && exec "$@"', where, *node.command("-node-encrypt")]
    node.start(command=command)
    assert node.get("/status").json["mux"]["tls"] == "enabled"


# --- the shell ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists(RQLITE), reason="rqlite is not built")
def test_the_shell_speaks_tls(https, ca):
    def shell(*args):
        done = subprocess.run([RQLITE, "-H", "127.0.0.1", "-p", str(https.http), *args], input=b"SELECT 'served';\n",
                              capture_output=True, check=False, timeout=PATIENCE)
        return b"served" in done.stdout.replace(b"SELECT 'served'", b"")

    assert shell("-s", "https", "-c", ca.cert)
    assert shell("-s", "https", "-i")
    assert not shell("-s", "https")
    assert not shell()

    client = ca.issue("client")
    https.context = ca.context(client)
    https.restart(*http_flags(ca.issue("again"), "-http-ca-cert", ca.cert, "-http-verify-client"))
    assert shell("-s", "https", "-c", ca.cert, "-d", client.cert, "-k", client.key)
    assert not shell("-s", "https", "-c", ca.cert)
