"""A strict reader of Prometheus' text format 0.0.4: what a scraper or its linter would not like is an error."""
import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
SAMPLE = re.compile(r"(%s)(?:\{(%s(?:,%s)*)\})? (\S+)" % (NAME, LABEL, LABEL))
ONE_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
VALUE = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|Inf)|NaN")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


class Bad(AssertionError):
    pass


def unescape(text):
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text)


class Family:
    def __init__(self, name, help_text):
        self.name, self.help, self.type = name, help_text, None
        self.samples = {}  # (name, ((label, value), ...)) -> float


class Page:
    def __init__(self, text):
        self.families = {}
        self.samples = {}
        if not text.endswith("\n"):
            raise Bad("the last line has no end")
        family = None
        for number, line in enumerate(text[:-1].split("\n"), 1):
            try:
                family = self._line(line, family)
            except Bad as e:
                raise Bad("line %d: %s: %s" % (number, e, line[:200])) from None
        for f in self.families.values():
            self._check(f)

    def _line(self, line, family):
        if line.startswith("# HELP "):
            m = re.fullmatch(r"# HELP (%s) (\S.*)" % NAME, line)
            if not m:
                raise Bad("malformed HELP")
            if m[1] in self.families:
                raise Bad("a family that was there before")
            self.families[m[1]] = family = Family(m[1], m[2])
            return family
        if line.startswith("# TYPE "):
            m = re.fullmatch(r"# TYPE (%s) (counter|gauge|histogram|summary|untyped)" % NAME, line)
            if not m or not family or m[1] != family.name or family.type or family.samples:
                raise Bad("TYPE out of place")
            family.type = m[2]
            return family
        m = SAMPLE.fullmatch(line)
        if not m or not VALUE.fullmatch(m[3]):
            raise Bad("malformed sample")
        if not family or not family.type:
            raise Bad("a sample without HELP and TYPE")
        if m[1] not in [family.name + s for s in SUFFIXES.get(family.type, ("",))]:
            raise Bad("not a sample of " + family.name)
        labels = tuple(sorted((k, unescape(v)) for k, v in ONE_LABEL.findall(m[2] or "")))
        if len({k for k, _ in labels}) != len(labels):
            raise Bad("a label twice")
        if any(k.startswith("__") for k, _ in labels):
            raise Bad("a reserved label")
        key = (m[1], labels)
        if key in self.samples:
            raise Bad("a series twice")
        self.samples[key] = family.samples[key] = float(m[3].replace("Inf", "inf"))
        return family

    def _check(self, f):
        if not f.type:
            raise Bad("no TYPE of " + f.name)
        if f.type == "counter":
            if not f.name.endswith("_total"):
                raise Bad("a counter should end in _total: " + f.name)
            if any(not v >= 0 for v in f.samples.values()):
                raise Bad("a counter below zero: " + f.name)
        elif f.name.endswith(("_total", "_count", "_sum", "_bucket")):
            raise Bad("a name for something else: " + f.name)
        if f.type == "histogram":
            self._check_histogram(f)

    @staticmethod
    def _check_histogram(f):
        rows = {}
        for (name, labels), v in f.samples.items():
            rest = tuple(l for l in labels if l[0] != "le")
            row = rows.setdefault(rest, {"buckets": []})
            if name.endswith("_bucket"):
                row["buckets"].append((float(dict(labels)["le"].replace("Inf", "inf")), v))
            else:
                row[name[len(f.name) + 1:]] = v
        for labels, row in rows.items():
            where = "%s%r" % (f.name, labels)
            bounds = [b for b, _ in row["buckets"]]
            counts = [c for _, c in row["buckets"]]
            if bounds != sorted(bounds) or not bounds or bounds[-1] != math.inf:
                raise Bad("buckets out of order or without +Inf: " + where)
            if counts != sorted(counts):
                raise Bad("a bucket below the one before it: " + where)
            if row.get("count") != counts[-1] or "sum" not in row:
                raise Bad("sum or count do not belong to the buckets: " + where)

    def get(self, name, **labels):
        """The value of one series; None if it is not there."""
        return self.samples.get((name, tuple(sorted(labels.items()))))

    def total(self, name, **labels):
        """The sum of the series of that name that have these labels."""
        want = set(labels.items())
        return sum(v for (n, ls), v in self.samples.items() if n == name and want <= set(ls))
