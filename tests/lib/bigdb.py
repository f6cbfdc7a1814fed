"""A database as large as wanted, for system tests and benchmarks."""
import os
import sqlite3

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHINOOK = os.path.join(ROOT, "..", "shared", "data", "chinook.sqlite")


def make_database(path, megabytes):
    """Rows of Chinook's tracks, over and over, under numbers of their own, with an index; or made-up ones."""
    db = sqlite3.connect(path)
    db.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE Copies(Id INTEGER PRIMARY KEY, "
                     "Name TEXT, Composer TEXT, Milliseconds INTEGER, Bytes INTEGER, Price REAL, Note TEXT);")
    if os.path.exists(CHINOOK):
        db.execute("ATTACH ? AS c", (CHINOOK,))
        tracks = db.execute("SELECT Name, Composer, Milliseconds, Bytes, UnitPrice FROM c.Track").fetchall()
        db.execute("DETACH c")
    else:
        tracks = [("name %d" % i, "composer %d" % (i % 97), i * 331, i * 7919, 0.99) for i in range(3503)]
    n = 0
    while os.path.getsize(path) < megabytes * 800000:  # the index takes the rest
        db.executemany("INSERT INTO Copies VALUES(?,?,?,?,?,?,?)",
                       ((n + i, *t, "copy %d of track %d" % (n, i)) for i, t in enumerate(tracks)))
        n += len(tracks)
        db.commit()
    db.execute("CREATE INDEX CopiesByName ON Copies(Name, Milliseconds)")
    db.commit()
    db.close()
    return n
