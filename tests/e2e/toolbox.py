"""Programs from package registries that some tests need, installed once below the build directory.

A test whose tools cannot be had (no toolchain, no registry) is skipped with a message.
"""
import fcntl
import os
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT

HOME = os.path.join(ROOT, "build", "tools")


def _once(name, make):
    """The directory build/tools/<name>, filled by make(directory) if it is not there yet."""
    os.makedirs(HOME, exist_ok=True)
    final = os.path.join(HOME, name)
    with open(final + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(final, "complete")):
            shutil.rmtree(final, ignore_errors=True)
            os.mkdir(final)
            make(final)
            open(os.path.join(final, "complete"), "w", encoding="ascii").close()
    return final


def _run(command, what, **more):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
                              text=True, **more)
    except (OSError, subprocess.TimeoutExpired) as e:
        pytest.skip("%s: %s" % (what, e))
    if done.returncode != 0:
        pytest.skip("%s: %s" % (what, done.stdout[-400:]))


def python_with(name, *requirements):
    """A Python interpreter that has these packages of PyPI."""
    def make(directory):
        _run([sys.executable, "-m", "venv", directory], "no virtual environment")
        _run([os.path.join(directory, "bin", "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check",
              *requirements], "PyPI")
    return os.path.join(_once(name, make), "bin", "python")


def go_program(name, source):
    """A program built from a directory with a go.mod."""
    if shutil.which("go") is None:
        pytest.skip("there is no Go toolchain")

    def make(directory):
        shutil.copytree(source, os.path.join(directory, "src"))
        env = dict(os.environ, GOFLAGS="-mod=mod", GOTOOLCHAIN="local")
        _run(["go", "build", "-o", os.path.join(directory, "program"), "."], "Go", env=env,
             cwd=os.path.join(directory, "src"))
    return os.path.join(_once(name, make), "program")


def node_program(name, source, main):
    """The command of a program in a directory with a package.json."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node.js with npm")

    def make(directory):
        shutil.copytree(source, os.path.join(directory, "src"))
        _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], "npm",
             cwd=os.path.join(directory, "src"))
    return ["node", os.path.join(_once(name, make), "src", main)]
