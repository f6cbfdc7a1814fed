"""What deploy/ holds: the container's entry point, the manifests, the unit."""
import os
import re
import shutil
import subprocess

import pytest

import toolbox
from conftest import BIN, ROOT, RQLITED, SANITIZED, die_with_us, free_ports, wait_until

DEPLOY = os.path.join(ROOT, "deploy")
ENTRYPOINT = os.path.join(DEPLOY, "docker", "docker-entrypoint.sh")
DEFAULTS = ["-node-id=box", "-raft-adv-addr=box.example:4002", "-raft-addr=0.0.0.0:4002",
            "-http-adv-addr=box.example:4001", "-http-addr=0.0.0.0:4001"]
DATA = "/rqlite/file/data"


# --- the entry point ------------------------------------------------------------------------------

@pytest.fixture
def entry(directory):
    """Runs the entry point with programs of its own on the PATH, which tell how they were called."""
    bin_dir = os.path.join(directory, "bin")
    os.mkdir(bin_dir)
    scripts = {"rqlited": 'printf "%s\\n" rqlited "$@"', "rqlite": 'printf "%s\\n" rqlite "$@"',
               "sleep": 'echo "slept $1"',
               "hostname": 'case $1 in -f) echo box.example;; -i) echo "10.1.2.3 10.9.9.9";; *) echo box;; esac'}
    for name, script in scripts.items():
        path = os.path.join(bin_dir, name)
        with open(path, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\n" + script + "\n")
        os.chmod(path, 0o755)

    def run(*args, status=0, **env):
        done = subprocess.run(["/bin/sh", ENTRYPOINT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, text=True, timeout=60,
                              env={"PATH": bin_dir + ":/usr/bin:/bin", "RQLITE_EXTENSIONS_HOME": directory, **env})
        assert done.returncode == status, done.stderr
        return done.stdout.splitlines() if status == 0 else done.stderr.strip()
    return run


@pytest.mark.parametrize("args", [(), ("run",), ("rqlite",)])
def test_the_defaults(entry, args):
    assert entry(*args) == ["rqlited", *DEFAULTS, DATA]


def test_flags_are_put_behind_the_defaults_and_replace_them(entry):
    assert entry("-bootstrap-expect", "3", "-join", "a:4002,b:4002") == [
        "rqlited", *DEFAULTS, "-bootstrap-expect", "3", "-join", "a:4002,b:4002", DATA]
    assert entry("run", "-node-id=7", "-http-addr", "1.2.3.4:80") == [
        "rqlited", *DEFAULTS[1:4], "-node-id=7", "-http-addr", "1.2.3.4:80", DATA]


def test_a_flag_with_two_dashes_is_not_looked_for_and_comes_last(entry):
    words = entry("--http-addr=x:1")
    assert words[1:6] == DEFAULTS and words[6] == "--http-addr=x:1"


def test_quotes_blanks_and_braces_survive(entry):
    assert entry("-disco-config={\"name\": \"a b\"}")[-2] == '-disco-config={"name": "a b"}'


@pytest.mark.parametrize("name,value,flag", [
    ("HTTP_ADDR", "1.1.1.1:1", "-http-addr=1.1.1.1:1"), ("HTTP_ADV_ADDR", "a:1", "-http-adv-addr=a:1"),
    ("RAFT_ADDR", "1.1.1.1:2", "-raft-addr=1.1.1.1:2"), ("RAFT_ADV_ADDR", "a:2", "-raft-adv-addr=a:2"),
    ("NODE_ID", "n9", "-node-id=n9"), ("ENABLE_FK", "1", "-fk"),
    ("HTTP_ADV_ADDR_IP", "9.9.9.9", "-http-adv-addr=9.9.9.9:4001"),
    ("HTTP_ADV_ADDR_PORT", "81", "-http-adv-addr=10.1.2.3:81"),
    ("RAFT_ADV_ADDR_IP", "9.9.9.9", "-raft-adv-addr=9.9.9.9:4002"),
    ("RAFT_ADV_ADDR_PORT", "82", "-raft-adv-addr=10.1.2.3:82")])
def test_a_variable_becomes_a_flag(entry, name, value, flag):
    assert flag in entry(**{name: value})


def test_a_flag_wins_over_its_variable(entry):
    words = entry("-node-id=1", "-fk=false", NODE_ID="n9", ENABLE_FK="1")
    assert "-node-id=n9" not in words and "-fk" not in words


def test_the_data_directory_can_be_chosen(entry):
    assert entry(DATA_DIR="/rqlite")[-1] == "/rqlite"


def test_start_delay(entry):
    assert entry(START_DELAY="7")[0] == "slept 7"
    assert entry(KUBERNETES_SERVICE_HOST="10.0.0.1")[0] == "slept 5"
    assert entry(KUBERNETES_SERVICE_HOST="10.0.0.1", START_DELAY="0")[0] == "rqlited"


def test_extensions(entry, directory):
    for key in ("icu", "sqlean"):
        open(os.path.join(directory, key + ".zip"), "wb").close()
    both = "-extensions-path=%s/sqlean.zip,%s/icu.zip" % (directory, directory)
    assert both in entry(SQLITE_EXTENSIONS="sqlean,icu")
    assert both + ",/my.so" in entry(SQLITE_EXTENSIONS="sqlean icu", CUSTOM_SQLITE_EXTENSIONS_PATH="/my.so")
    assert entry(status=1, SQLITE_EXTENSIONS="foo") == "SQLite extension foo does not exist"
    assert entry("-extensions-path=/x", status=1, SQLITE_EXTENSIONS="icu") == (
        "Setting both -extensions-path and SQLITE_EXTENSIONS is not allowed")
    assert entry("-extensions-path=/x", status=1, CUSTOM_SQLITE_EXTENSIONS_PATH="/my.so") == (
        "Setting both -extensions-path and CUSTOM_SQLITE_EXTENSIONS_PATH is not allowed")


def test_other_commands_run_as_given(entry):
    assert entry("rqlite", "-H", "db1") == ["rqlite", "-H", "db1"]
    assert entry("rqlited", "-version") == ["rqlited", "-version"]
    assert entry("sh", "-c", "echo $0-$1", "a", "b") == ["a-b"]


def test_a_real_node_behind_the_entry_point_ends_on_sigterm(directory):
    http, raft = free_ports(2)
    log = open(os.path.join(directory, "log"), "wb")
    process = subprocess.Popen(
        ["/bin/sh", ENTRYPOINT, "-http-addr=127.0.0.1:%d" % http, "-http-adv-addr=127.0.0.1:%d" % http,
         "-raft-addr=127.0.0.1:%d" % raft, "-raft-adv-addr=127.0.0.1:%d" % raft],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, preexec_fn=die_with_us,
        env={"PATH": os.path.dirname(RQLITED) + ":/usr/bin:/bin", "DATA_DIR": os.path.join(directory, "data")})

    def ready():
        assert process.poll() is None, open(log.name, encoding="utf-8").read()[-2000:]
        return b"is now Leader" in open(log.name, "rb").read()
    try:
        wait_until(ready, "a leader")
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        log.close()


# --- the image --------------------------------------------------------------------------------------

@pytest.mark.skipif(SANITIZED, reason="other libraries are linked then")
@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="not a Debian system")
def test_the_image_installs_every_library_the_binaries_need():
    with open(os.path.join(DEPLOY, "docker", "Dockerfile"), encoding="utf-8") as f:
        runtime = f.read().split("FROM debian:12-slim\n")[1]
    missing = set()
    for name in ("rqlited", "rqlite", "rqbench"):
        needed = re.findall(r"NEEDED\s+(\S+)", subprocess.check_output(
            ["objdump", "-p", os.path.join(BIN, name)], text=True))
        for library in needed:
            owner = subprocess.run(["dpkg-query", "-S", "*/" + library], stdout=subprocess.PIPE, text=True,
                                   stderr=subprocess.DEVNULL, check=False).stdout.split(":")[0]
            if owner and not owner.startswith("libc6") and not re.search(r"\s%s\s" % re.escape(owner), runtime):
                missing.add(owner)
    assert not missing


# --- the manifests ----------------------------------------------------------------------------------

MANIFESTS = sorted(n for n in os.listdir(os.path.join(DEPLOY, "kubernetes")) if n.endswith(".yaml"))


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_valid(name):
    python = toolbox.python_with("kubernetes", "kubernetes-validate==1.37.0")
    done = subprocess.run([os.path.join(os.path.dirname(python), "kubernetes-validate"), "--strict",
                           os.path.join(DEPLOY, "kubernetes", name)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifests_flags_are_ours_and_its_names_agree(name, directory):
    with open(os.path.join(DEPLOY, "kubernetes", name), encoding="utf-8") as f:
        text = f.read()
    flags = re.findall(r"^\s+- (-[a-z].*)$", text, re.M)
    assert "-bootstrap-expect=3" in flags
    done = subprocess.run([RQLITED, *flags, "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    assert done.returncode == 0 and done.stdout.startswith("rqlited v"), done.stdout
    service = re.search(r"serviceName: (\S+)", text)[1]
    assert "name: %s\n" % service in text
    for host in re.search(r"-join=(\S+)", text)[1].split(","):
        assert re.fullmatch(r"rqlite-[0-2]\.%s:4002" % service, host)


# --- the unit ---------------------------------------------------------------------------------------

UNIT = os.path.join(DEPLOY, "systemd", "rqlited.service")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_the_unit_is_valid(directory):
    with open(UNIT, encoding="utf-8") as f:
        text = f.read()
    # What it names is not installed here.
    text = text.replace("/usr/bin/rqlited", RQLITED).replace("Documentation=man:rqlited(8)\n", "")
    path = os.path.join(directory, "rqlited.service")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    done = subprocess.run(["systemd-analyze", "verify", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    said = [line for line in done.stdout.splitlines() if "rqlited" in line]
    assert not said, done.stdout


def test_the_unit_keeps_what_drop_ins_build_on():
    with open(UNIT, encoding="utf-8") as f:
        lines = f.read().splitlines()
    for line in ("Type=notify", "ExecStart=/usr/bin/rqlited /var/lib/rqlite/data", "User=rqlite", "Group=rqlite",
                 "Restart=on-failure", "RestartSec=5", "LimitNOFILE=65536", "NoNewPrivileges=true",
                 "ProtectSystem=strict", "ProtectHome=true", "PrivateTmp=true", "ReadWritePaths=/var/lib/rqlite",
                 "WantedBy=multi-user.target"):
        assert line in lines
