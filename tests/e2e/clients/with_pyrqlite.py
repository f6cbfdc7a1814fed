"""Chinook through pyrqlite; see test_clients.py for what is expected of these programs."""
import json
import sys
import time

import pyrqlite.dbapi2 as dbapi2


def connect(host):
    name, port = host.rsplit(":", 1)
    return dbapi2.connect(host=name, port=int(port), timeout=10)


def chinook(hosts, tables):
    db = connect(hosts[0])
    with db.cursor() as cursor:
        for name, table in tables.items():
            cursor.execute(table["create"])
            marks = ", ".join("?" * len(table["rows"][0]))
            cursor.executemany("INSERT INTO %s VALUES (%s)" % (name, marks), table["rows"])
    for name, table in tables.items():
        with db.cursor() as cursor:
            cursor.execute("SELECT * FROM %s ORDER BY 1" % name)
            rows = [list(row) for row in cursor.fetchall()]
        assert rows == table["rows"], name
        print("rows", name, len(rows), flush=True)
    with db.cursor() as cursor:
        cursor.execute("SELECT Name FROM Artist WHERE ArtistId = ?", (90,))
        print("name", cursor.fetchone()[0], flush=True)


def write(hosts):
    at, written, db = 0, 0, connect(hosts[0])
    while True:
        try:
            with db.cursor() as cursor:
                cursor.execute("INSERT OR IGNORE INTO acked VALUES (?)", (written,))
        except Exception as e:  # pylint: disable=broad-except
            print("retry", e, file=sys.stderr, flush=True)
            at = (at + 1) % len(hosts)
            db = connect(hosts[at])
            time.sleep(0.05)
            continue
        print(written, flush=True)
        written += 1


if __name__ == "__main__":
    addresses = sys.argv[2].split(",")
    if sys.argv[1] == "chinook":
        with open(sys.argv[3], encoding="utf-8") as file:
            chinook(addresses, json.load(file))
    else:
        write(addresses)
