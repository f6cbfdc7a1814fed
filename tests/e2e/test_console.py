"""The console in a browser.  Needs chromium, chromium-driver and python3-selenium (`make deps-console`); without them
the tests with a browser are skipped, those of what is served run all the same."""
import os
import shutil
import sqlite3
import tempfile
import time

import pytest

from conftest import wait_until

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:
    webdriver = None

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FILES = {"": "text/html; charset=utf-8", "static/console.css": "text/css; charset=utf-8",
         "static/console.js": "text/javascript; charset=utf-8", "static/sql.js": "text/javascript; charset=utf-8",
         "static/theme.js": "text/javascript; charset=utf-8", "static/icon.svg": "image/svg+xml"}


def test_what_is_served_may_load_nothing_else(node):
    node.start()
    for name, kind in FILES.items():
        r = node.get("/console/" + name)
        assert (r.status, r.headers["Content-Type"]) == (200, kind)
        policy = r.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert r.headers["X-Content-Type-Options"] == "nosniff"
        assert b"http://" not in r.body.replace(b"http://www.w3.org/", b"") and b"innerHTML" not in r.body
        again = node.get("/console/" + name, headers={"If-None-Match": r.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
    page = node.get("/console/").text
    assert "style=" not in page and " onclick" not in page and "<style" not in page and "<script>" not in page
    assert node.get("/console/static/nope.js").status == 404
    assert node.ask("HEAD", "/console/").status == 200


SIZE = (1280, 860)


class Browser:
    def __init__(self, directory):
        options = Options()
        options.binary_location = CHROMIUM
        downloads = os.path.join(directory, "downloads")
        os.mkdir(downloads)
        for a in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync",
                  "--disable-dev-shm-usage", "--user-data-dir=" + os.path.join(directory, "profile"),
                  "--window-size=%d,%d" % SIZE):
            options.add_argument(a)
        options.add_experimental_option("prefs", {"download.default_directory": downloads})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.downloads = downloads
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))

    def open(self, node, tab="", login=""):
        self.driver.get("http://%s127.0.0.1:%d/console/%s" % (login, node.http, "#" + tab if tab else ""))
        wait_until(lambda: self.id("raft-state").text == "Leader", "the state in the head")
        return self

    def id(self, name):
        return self.driver.find_element(By.ID, name)

    def all(self, css, within=None):
        return (within or self.driver).find_elements(By.CSS_SELECTOR, css)

    def wait(self, css, n=1):
        return wait_until(lambda: len(self.all(css)) >= n and self.all(css), "%d of %s" % (n, css))

    def run(self, sql):
        before = self.all("#results > *")
        self.id("sql").clear()
        self.id("sql").send_keys(sql)
        self.id("sql").send_keys(Keys.CONTROL, Keys.ENTER)
        wait_until(lambda: self.id("outcome").text not in ("", "Running …") and self.id("run").is_enabled()
                   and self.all("#results > *") != before, "an outcome")
        return self.all("#results > .result")

    def rows(self, card):
        """Texts of the cells, and their classes."""
        return [[(c.text, c.get_attribute("class")) for c in self.all("td:not(.row-number):not(.rest)", r)]
                for r in self.all("tbody tr", card)]

    def errors(self):
        return [e for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def one_browser():
    """Started once: that takes longer than the tests."""
    if webdriver is None or not CHROMIUM or not DRIVER:
        pytest.skip("no chromium, chromium-driver or python3-selenium: make deps-console")
    with tempfile.TemporaryDirectory(prefix="console.") as directory:
        b = Browser(directory)
        yield b
        b.driver.quit()


@pytest.fixture
def browser(one_browser):
    b = one_browser
    b.driver.set_window_size(*SIZE)
    yield b
    errors = b.errors()
    b.driver.execute_script("localStorage.clear()")  # another node may have this port
    b.driver.get("about:blank")
    assert errors == []


def test_queries_show_every_kind_of_value(node, browser):
    node.start()
    node.execute("CREATE TABLE t (i INTEGER, r REAL, s TEXT, b BLOB)",
                 "INSERT INTO t VALUES (9223372036854775807, 0.5, 'NULL', x'00ff'), (NULL, NULL, NULL, NULL)")
    browser.open(node)
    [card] = browser.run("SELECT * FROM t")
    assert [h.text.split("\n") for h in browser.all("thead th", card)] == [
        ["i", "integer"], ["r", "real"], ["s", "text"], ["b", "blob"]]
    first, second = browser.rows(card)
    assert first == [("9223372036854775807", "number"), ("0.5", "number"), ("NULL", ""), ("blob, 2 bytes00ff", "blob")]
    assert [c[0] for c in second] == ["NULL"] * 4 and all("null" in c[1].split() for c in second)


def test_several_statements_have_a_result_each(node, browser):
    node.start()
    browser.open(node)
    cards = browser.run("CREATE TABLE t (a); -- one;\nINSERT INTO t VALUES ('x;y'), (2);\nSELECT * FROM t; SELECT nope")
    assert len(cards) == 4
    assert "2 rows changed" in cards[1].text
    assert [r[0][0] for r in browser.rows(cards[2])] == ["x;y", "2"]
    assert "no such column: nope" in cards[3].text and browser.all(".error", cards[3])
    trigger = "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = CASE a WHEN 1 THEN 2 END; SELECT 1; END; SELECT 5"
    cards = browser.run(trigger)
    assert [r[0][0] for r in browser.rows(cards[1])] == ["5"]
    assert node.one("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'") == 1


def test_nothing_from_the_database_is_taken_for_html(node, browser):
    node.start()
    evil = "<img src=x onerror=\"window.evil=1\"><script>window.evil=1</script>"
    name = '"><img src=x onerror=window.evil=1>'
    node.post("/db/execute", [['CREATE TABLE "%s" ("%s" TEXT DEFAULT \'%s\')' % (name.replace('"', '""'), evil.replace('"', '""'), evil)]])
    node.post("/db/execute", [['INSERT INTO "%s" VALUES (?)' % name.replace('"', '""'), evil]])
    browser.open(node)
    [card] = browser.run('SELECT * FROM "%s"' % name.replace('"', '""'))
    assert browser.rows(card)[0][0][0] == evil
    browser.run("SELECT '" + evil)  # the error quotes it
    browser.id("tab-schema").click()
    browser.wait("#schema-list button")[0].click()
    browser.wait("#schema-detail pre")
    assert evil in browser.id("schema-detail").text
    browser.id("tab-status").click()
    browser.wait("#figures .card", 4)
    time.sleep(0.2)  # for what should not run
    assert browser.driver.execute_script("return window.evil") is None
    assert browser.all("main img") == [] and browser.all("main script") == []


def test_large_results_are_shown_in_part(node, browser):
    node.start()
    browser.open(node)
    [card] = browser.run("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<2500) SELECT x FROM c")
    assert len(browser.all("tbody tr", card)) == 1000
    assert "Showing 1,000 of 2,500 rows." in card.text
    for _ in range(2):
        browser.all(".more button", card)[0].click()
    assert len(browser.all("tbody tr", card)) == 2500 and not browser.all(".more", card)[0].is_displayed()
    [card] = browser.run("SELECT printf('%.*c', 50000, 'x')")
    assert "50,000 characters in all" in card.text and len(card.text) < 3000


def test_level_and_endpoint_are_what_was_chosen(node, browser):
    node.start()
    browser.open(node)
    browser.id("endpoint").send_keys("read only")
    [card] = browser.run("CREATE TABLE t (a)")
    assert "attempt to change database via query operation" in card.text
    browser.id("endpoint").send_keys("write")
    assert not browser.id("level").is_enabled()
    [card] = browser.run("CREATE TABLE t (a)")
    assert "0 rows changed" in card.text


def test_the_history_is_kept_and_brought_back(node, browser):
    node.start()
    browser.open(node)
    browser.run("SELECT 1")
    browser.run("SELECT 2")
    browser.open(node)
    browser.all("#history-menu summary")[0].click()
    assert [b.text for b in browser.all("#history button")] == ["SELECT 2", "SELECT 1"]
    browser.all("#history button")[1].click()
    assert browser.id("sql").get_attribute("value") == "SELECT 1"


def test_schema_tells_of_columns_indexes_and_keys(node, browser):
    node.start()
    node.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, name VARCHAR(10) NOT NULL DEFAULT 'x', up REFERENCES p (id))",
                 "CREATE UNIQUE INDEX p_name ON p (name)", "CREATE VIEW v AS SELECT 1", "INSERT INTO p (id) VALUES (1)")
    browser.open(node, "schema")
    assert [b.text.split("\n") for b in browser.wait("#schema-list button", 2)] == [["p"], ["v", "view"]]
    browser.all("#schema-list button")[0].click()
    browser.wait("#schema-detail table", 3)
    text = browser.id("schema-detail").text
    for part in ("VARCHAR(10)", "'x'", "primary", "p_name", "p (id)", "CREATE TABLE p"):
        assert part in text, part
    browser.all("#schema-detail .bar button")[0].click()
    wait_until(lambda: "1 row" in browser.id("schema-detail").text, "the count")
    browser.all("#schema-detail .bar button")[1].click()
    browser.wait("#results .result")
    assert browser.id("sql").get_attribute("value") == 'SELECT * FROM "p" LIMIT 100'
    browser.id("tab-schema").click()
    browser.id("schema-filter").send_keys("V")
    assert [b.text.split("\n")[0] for b in browser.all("#schema-list button")] == ["v"]


def test_nodes_and_status(cluster, browser):
    cluster.start(2)
    leader = cluster.leader()
    browser.open(leader, "nodes")
    browser.wait("#nodes tbody tr", 2)
    other = "2" if leader.id == "1" else "1"
    rows = {r.text.split()[0]: r.text for r in browser.all("#nodes tbody tr")}
    assert "Leader" in rows[leader.id] and "Voter" in rows[other] and "entr" in rows[other]
    browser.id("tab-status").click()
    text = wait_until(lambda: len(browser.all("#figures .card")) == 4 and browser.id("figures").text, "figures")
    assert "in memory" in text and "3.40" in text
    browser.all("#panel-status summary")[0].click()
    assert '"store": {' in browser.id("status-raw").text
    assert browser.id("node-id").text == leader.id


def test_a_backup_is_downloaded(node, browser):
    node.start()
    node.execute("CREATE TABLE t (a)", "INSERT INTO t VALUES (42)")
    browser.open(node, "backup")
    browser.all("#backup-form button")[0].click()
    name = wait_until(lambda: next((f for f in os.listdir(browser.downloads) if f.endswith(".sqlite")), None), "the file")
    path = os.path.join(browser.downloads, name)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT a FROM t").fetchall() == [(42,)]


def test_a_restore_asks_first(node, browser, directory):
    node.start()
    node.execute("CREATE TABLE before (a)")
    path = os.path.join(directory, "new.sqlite")
    db = sqlite3.connect(path)
    db.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (7);")
    db.close()
    browser.open(node, "restore")
    assert not browser.id("restore").is_enabled()
    browser.id("restore-file").send_keys(path)
    wait_until(lambda: "a SQLite database" in browser.id("restore-what").text, "the file's kind")
    browser.id("restore").click()
    assert "All that is in it now is lost" in wait_until(lambda: browser.id("confirm-text").text, "the question")
    browser.all("#confirm button[value=no]")[0].click()
    assert node.one("SELECT name FROM sqlite_master") == "before"
    browser.id("restore").click()
    wait_until(lambda: browser.id("confirm-text").is_displayed(), "the question")
    browser.all("#confirm button[value=yes]")[0].click()
    wait_until(lambda: "Loaded" in browser.id("restore-outcome").text, "the outcome")
    assert node.one("SELECT a FROM t") == 7
    bad = os.path.join(directory, "bad.sql")
    with open(bad, "w") as f:
        f.write("NONSENSE;")
    browser.id("restore-file").send_keys(bad)
    wait_until(lambda: "SQL text" in browser.id("restore-what").text, "the file's kind")
    browser.id("restore").click()
    wait_until(lambda: browser.id("confirm-text").is_displayed(), "the question")
    browser.all("#confirm button[value=yes]")[0].click()
    wait_until(lambda: "syntax error" in browser.id("restore-outcome").text, "the error")


def test_the_keyboard_is_enough_and_colours_stay(node, browser):
    node.start()
    browser.open(node)
    browser.id("tab-query").send_keys(Keys.ARROW_RIGHT)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "tab-schema"
    assert browser.id("panel-schema").is_displayed() and not browser.id("panel-query").is_displayed()
    browser.driver.switch_to.active_element.send_keys(Keys.END)
    assert browser.id("tab-restore").get_attribute("aria-selected") == "true"
    dark = browser.driver.execute_script
    browser.id("theme").click()
    browser.id("theme").click()
    assert dark("return document.documentElement.dataset.theme") == "dark"
    browser.open(node)
    assert dark("return document.documentElement.dataset.theme") == "dark"
    assert browser.id("theme").get_attribute("aria-label") == "Colours: dark"
    unnamed = dark("""return [...document.querySelectorAll('input,select,textarea')]
        .filter(e => !e.labels.length && !e.getAttribute('aria-label')).map(e => e.id)""")
    assert unnamed == []


def test_it_fits_a_narrow_window(node, browser):
    node.start()
    node.execute("CREATE TABLE wide (%s)" % ", ".join("column_%d" % i for i in range(30)))
    browser.driver.set_window_size(500, 800)
    browser.open(node)
    browser.run("SELECT * FROM wide")
    for tab in ("query", "schema", "nodes", "status", "backup", "restore"):
        browser.id("tab-" + tab).click()
        size = browser.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert size[0] <= size[1], (tab, size)


def test_a_running_query_can_be_cancelled(node, browser):
    node.start()
    browser.open(node)
    browser.id("sql").send_keys("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c")
    browser.id("run").click()
    wait_until(lambda: browser.id("cancel").is_displayed(), "the button")
    browser.id("cancel").click()
    wait_until(lambda: "Cancelled" in browser.id("outcome").text, "the outcome")
    assert browser.id("run").is_enabled()


def test_a_user_may_stand_in_the_address(node, browser, directory):
    users = os.path.join(directory, "users.json")
    with open(users, "w", encoding="ascii") as f:
        f.write('[{"username": "bob", "password": "secret", "perms": ["all"]}, {"username": "*", "perms": ["ready"]}]')
    node.start("-auth", users)
    browser.open(node, login="bob:secret@")
    [card] = browser.run("SELECT 40 + 2")
    assert [c[0] for c in browser.rows(card)[0]] == ["42"]
