"""Certificate authorities and what they sign, made by the openssl command in a directory of the test."""
import os
import ssl
import subprocess

CA_CONFIG = """
[ca]
default_ca = this
[this]
database = %(path)s.index
serial = %(path)s.serial
new_certs_dir = %(dir)s
certificate = %(path)s.pem
private_key = %(path)s.key
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
email_in_dn = no
[any]
commonName = supplied
"""


def openssl(*args):
    done = subprocess.run(["openssl", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, timeout=60)
    assert done.returncode == 0, done.stdout.decode()


class Pair:
    """A certificate and its key."""

    def __init__(self, path):
        self.cert, self.key = path + ".pem", path + ".key"

    def install(self, other):
        """Take the place of other's files, one after the other, as a careful tool does it."""
        for mine, its in ((self.key, other.key), (self.cert, other.cert)):
            with open(mine, "rb") as f, open(its + ".new", "wb") as out:
                out.write(f.read())
            os.rename(its + ".new", its)


def self_signed(directory, name, cn="localhost", sans="DNS:localhost,IP:127.0.0.1"):
    pair = Pair(os.path.join(directory, name))
    extra = ["-addext", "subjectAltName=" + sans] if sans else []
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-keyout", pair.key, "-out", pair.cert, "-subj", "/CN=" + cn, *extra)
    return pair


class Authority:
    def __init__(self, directory, name="ca"):
        self.directory, self.path = directory, os.path.join(directory, name)
        self.cert = self_signed(directory, name, name, None).cert
        with open(self.path + ".cnf", "w", encoding="ascii") as f:
            f.write(CA_CONFIG % {"path": self.path, "dir": directory})
        open(self.path + ".index", "w", encoding="ascii").close()
        with open(self.path + ".serial", "w", encoding="ascii") as f:
            f.write("01\n")

    def issue(self, name, cn=None, sans="DNS:localhost,IP:127.0.0.1", expired=False):
        """A certificate that is good for servers and clients."""
        pair = Pair(os.path.join(self.directory, name))
        extra = ["-addext", "subjectAltName=" + sans] if sans else []
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", pair.key,
                "-out", pair.cert + ".csr", "-subj", "/CN=" + (cn or name), *extra)
        dates = (["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"] if expired else
                 ["-days", "30"])
        openssl("ca", "-batch", "-notext", "-config", self.path + ".cnf", "-in", pair.cert + ".csr", "-out", pair.cert,
                *dates)
        return pair

    def context(self, pair=None):
        """For clients that trust us, and show this."""
        context = ssl.create_default_context(cafile=self.cert)
        if pair:
            context.load_cert_chain(pair.cert, pair.key)
        return context
