"""Chinook through SQLAlchemy and sqlalchemy-rqlite; see test_clients.py for what is expected of these programs."""
import json
import sys
import time

import sqlalchemy
from sqlalchemy import text


def connect(host):
    return sqlalchemy.create_engine("rqlite+pyrqlite://%s/?connect_timeout=10" % host)


def chinook(hosts, tables):
    engine = connect(hosts[0])
    with engine.begin() as db:
        for name, table in tables.items():
            db.execute(text(table["create"]))
    known = {name: sqlalchemy.table(name, *map(sqlalchemy.column, table["columns"])) for name, table in tables.items()}
    with engine.begin() as db:
        for name, table in tables.items():
            for start in range(0, len(table["rows"]), 200):
                piece = table["rows"][start:start + 200]
                db.execute(sqlalchemy.insert(known[name]), [dict(zip(table["columns"], row)) for row in piece])
    with engine.connect() as db:
        for name, table in tables.items():
            rows = [list(row) for row in db.execute(sqlalchemy.select(known[name]).order_by(table["columns"][0]))]
            assert rows == table["rows"], name
            print("rows", name, len(rows), flush=True)
        artist = known["Artist"]
        one = sqlalchemy.select(artist.c.Name).where(artist.c.ArtistId == 90)
        print("name", db.execute(one).scalar(), flush=True)


def write(hosts):
    at, written, engine = 0, 0, connect(hosts[0])
    while True:
        try:
            with engine.begin() as db:
                db.execute(text("INSERT OR IGNORE INTO acked VALUES (:id)"), {"id": written})
        except Exception as e:  # pylint: disable=broad-except
            print("retry", e, file=sys.stderr, flush=True)
            at = (at + 1) % len(hosts)
            engine.dispose()
            engine = connect(hosts[at])
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
