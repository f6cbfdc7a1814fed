"""A real database, loaded over HTTP and read back through every path, in both modes."""
import gzip
import os
import sqlite3
import subprocess
import threading

import pytest

from conftest import shared_data, wait_until

# Known results of the Chinook database, version 1.4.5.
ROWS = {"Album": 347, "Artist": 275, "Customer": 59, "Employee": 8, "Genre": 25, "Invoice": 412, "InvoiceLine": 2240,
        "MediaType": 5, "Playlist": 18, "PlaylistTrack": 8715, "Track": 3503}
TOP_COUNTRIES = [["USA", 523.06], ["Canada", 303.96], ["France", 195.1], ["Brazil", 190.1], ["Germany", 156.48]]
BY_COUNTRY = ("SELECT BillingCountry, ROUND(SUM(Total), 2) FROM Invoice GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5")
LONGEST = ("SELECT t.Name, a.Title, r.Name FROM Track t JOIN Album a USING (AlbumId) JOIN Artist r USING (ArtistId) "
           "ORDER BY Milliseconds DESC LIMIT 1")
LONGEST_IS = [["Occupation / Precipice", "Battlestar Galactica, Season 3", "Battlestar Galactica"]]


def read(name):
    with open(shared_data(name), "rb") as f:
        return f.read()


def load_sql(node):
    answer = node.post("/db/load", read("chinook.sql"), headers={"Content-Type": "text/plain"})
    assert answer.status == 200, answer
    assert "error" not in answer.json["results"][0], answer


def load_file(node):
    answer = node.post("/db/load", read("chinook.sqlite"), headers={"Content-Type": "application/octet-stream"})
    assert (answer.status, answer.json) == (200, {"results": []})


LOADERS = {"sql": load_sql, "file": load_file}


def check_through_every_path(node):
    tables = node.query_get("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1")
    assert tables == [[name] for name in sorted(ROWS)]
    for table, n in ROWS.items():
        assert node.query_get("SELECT count(*) FROM " + table) == [[n]]
        assert node.query("SELECT count(*) FROM " + table) == [[n]]
    assert node.query_get("SELECT count(*), ROUND(SUM(Total), 2) FROM Invoice") == [[412, 2328.6]]
    for level in ("none", "weak", "linearizable", "strong"):
        assert node.query("SELECT ROUND(SUM(Total), 2) FROM Invoice", params="?level=" + level) == [[2328.6]]
    # parameters, by position and by name
    assert node.query("SELECT Name FROM Artist WHERE ArtistId = ?", 90) == [["Iron Maiden"]]
    assert node.query("SELECT count(*) FROM Track WHERE Composer = :who", {"who": "U2"}) == [[44]]
    assert node.query("SELECT FirstName FROM Customer WHERE LastName = ?", "Köhler") == [["Leonie"]]
    # /db/request answers reads, too
    request = node.post("/db/request", ["SELECT count(*) FROM Track", ["SELECT Name FROM Genre WHERE GenreId = ?", 1]])
    assert [r["values"] for r in request.results] == [[[3503]], [["Rock"]]]
    assert node.query(BY_COUNTRY) == TOP_COUNTRIES
    assert node.query(LONGEST) == LONGEST_IS
    rows = node.get("/db/query?associative&q=SELECT+*+FROM+Genre+ORDER+BY+1").results[0]["rows"]
    assert len(rows) == 25 and rows[0] == {"GenreId": 1, "Name": "Rock"}
    # dates come in the form clients parse
    assert node.query("SELECT InvoiceDate FROM Invoice WHERE InvoiceId = 1") == [["2021-01-01T00:00:00Z"]]
    assert len(node.query("SELECT * FROM Track")) == 3503


def check_file(path):
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for table, n in ROWS.items():
            assert db.execute("SELECT count(*) FROM " + table).fetchone() == (n,)
        assert db.execute("SELECT ROUND(SUM(Total), 2) FROM Invoice").fetchone() == (2328.6,)
        assert [list(r) for r in db.execute(BY_COUNTRY)] == TOP_COUNTRIES
    finally:
        db.close()


@pytest.mark.parametrize("how", LOADERS)
def test_chinook_reads_the_same_through_every_path_and_after_a_restart(running, how):
    LOADERS[how](running)
    check_through_every_path(running)
    running.restart()
    check_through_every_path(running)
    running.kill().start()
    check_through_every_path(running)


@pytest.mark.parametrize("how", LOADERS)
def test_a_backup_opens_in_sqlite(running, directory, how):
    LOADERS[how](running)
    path = os.path.join(directory, "backup.db")
    for params, header in [("", b"\2\2"), ("?fmt=delete", b"\1\1"), ("?vacuum", b"\1\1"), ("?compress", b"\2\2")]:
        answer = running.get("/db/backup" + params)
        assert answer.status == 200
        body = gzip.decompress(answer.body) if "compress" in params else answer.body
        assert body[18:20] == header, params
        with open(path, "wb") as f:
            f.write(body)
        check_file(path)
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(path + suffix):
                os.unlink(path + suffix)


def test_a_dump_restores_in_sqlite(running, directory):
    load_file(running)
    dump = running.get("/db/backup?fmt=sql")
    assert dump.status == 200
    path = os.path.join(directory, "restored.db")
    subprocess.run(["sqlite3", path], input=dump.body, check=True)
    check_file(path)


def test_a_backup_restores_in_another_node(running, make_node):
    load_sql(running)
    backup = running.get("/db/backup").body
    dump = running.get("/db/backup?fmt=sql").body
    for body in (backup, dump):
        other = make_node().start()
        answer = other.post("/db/load", body)
        assert answer.status == 200 and "error" not in answer.text, answer
        check_through_every_path(other)


def test_a_load_replaces_what_was_there(running):
    running.execute("CREATE TABLE old(x)", "INSERT INTO old VALUES(1)")
    load_file(running)
    assert running.post("/db/query", ["SELECT * FROM old"]).results == [{"error": "no such table: old"}]
    result = running.execute("INSERT INTO Artist(Name) VALUES('after the load')")
    assert result == [{"last_insert_id": 276, "rows_affected": 1}]
    running.restart()
    assert running.one("SELECT count(*) FROM Artist") == 276


def test_a_load_that_fails_changes_nothing(running):
    load_file(running)
    whole = read("chinook.sqlite")
    torn = bytearray(whole)
    torn[4096 * 5:4096 * 90] = b"\xa5" * (4096 * 85)
    for bad in (whole[:len(whole) // 2], bytes(torn), whole[:100], whole[:16] + b"\0" * 8000):
        assert running.post("/db/load", bad).status == 400
        assert running.one("SELECT count(*) FROM Track") == 3503
    # an SQL text with its own transaction leaves nothing behind, either
    answer = running.post("/db/load", "BEGIN; DELETE FROM Track; INSERT INTO nowhere VALUES(1); COMMIT;")
    assert answer.results == [{"error": "no such table: nowhere"}]
    assert running.one("SELECT count(*) FROM Track") == 3503


def test_writes_to_the_loaded_database(running):
    load_sql(running)
    results = running.execute(["UPDATE Track SET UnitPrice = UnitPrice * 2 WHERE GenreId = ?", 1],
                              ["DELETE FROM PlaylistTrack WHERE PlaylistId = :p", {"p": 1}],
                              "INSERT INTO Invoice(CustomerId, InvoiceDate, Total) VALUES(1, '2030-01-01', 10.5)",
                              params="?transaction")
    assert [r.get("rows_affected") for r in results] == [1297, 3290, 1]
    assert running.query("SELECT count(*), ROUND(SUM(Total), 2) FROM Invoice") == [[413, 2339.1]]
    running.restart()
    assert running.query("SELECT count(*), ROUND(SUM(Total), 2) FROM Invoice") == [[413, 2339.1]]
    assert running.one("SELECT count(*) FROM PlaylistTrack") == 8715 - 3290


def test_the_file_is_read_live_while_writes_go_on(node):
    node.start("-on-disk")
    load_sql(node)
    path = node.in_data("db.sqlite")
    ended = threading.Event()
    written = []

    def write():
        while not ended.is_set():
            node.execute("INSERT INTO Artist(Name) VALUES('live')")
            written.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        last = 275
        for _ in range(40):
            shell = subprocess.run(["sqlite3", "-readonly", path, "SELECT count(*) FROM Artist; SELECT count(*) FROM Track"],
                                   capture_output=True, check=False)
            assert (shell.returncode, shell.stderr) == (0, b""), shell
            artists, tracks = map(int, shell.stdout.split())
            assert artists >= last and tracks == 3503
            last = artists
        wait_until(lambda: len(written) > 50, "writes beside the readers")
        # what was acknowledged is seen at once
        node.execute("INSERT INTO Artist(ArtistId, Name) VALUES(100000, 'seen at once')")
        db = sqlite3.connect("file:%s?mode=ro" % path, uri=True)
        assert db.execute("SELECT Name FROM Artist WHERE ArtistId = 100000").fetchone() == ("seen at once",)
        # a reader that stays in its transaction sees its state, and stops no writes
        db.execute("BEGIN")
        before = db.execute("SELECT count(*) FROM Artist").fetchone()
        node.execute("INSERT INTO Artist(Name) VALUES('after')")
        assert db.execute("SELECT count(*) FROM Artist").fetchone() == before
        db.close()
    finally:
        ended.set()
        thread.join()
    assert node.one("SELECT count(*) FROM Artist") == 275 + len(written) + 2
    node.restart()
    assert node.one("SELECT count(*) FROM Artist") == 275 + len(written) + 2
