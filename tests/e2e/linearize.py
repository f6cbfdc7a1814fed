"""Was a recorded history linearizable?  For registers and counters, one key at a time.

An operation is recorded when it is called and when it returned; in between it took effect at one
moment, or, when nobody knows its outcome, at some moment after the call or never.  A history is
linearizable if such moments exist for which every read tells what was there.

Both checks are exact, so they neither miss a violation nor invent one (test_linearize.py compares
them with a search through all orders):

  registers   every written value is unique.  Then a value and the reads of it form a zone, from the
              first return to the last call among them, and zones alone decide: P. Gibbons and
              E. Korach, "Testing Shared Memories", SIAM J. Comput. 26 (1997), section 4.
  counters    every increment tells the value it made, so the values are the order; what is left is
              that the order agrees with time, and that there are enough increments of unknown outcome
              for the values that nobody claims.
"""
import bisect
import itertools
import math

NEVER = math.inf  # the return of an operation whose outcome is unknown


class Op:
    """One operation on one key.  kind is "write" or "read"; for counters a write is one increment and
    value what it made (None if unknown)."""
    __slots__ = ("kind", "value", "call", "ret", "note")

    def __init__(self, kind, value, call, ret=NEVER, note=""):
        assert call <= ret, "returned before it was called"
        self.kind, self.value, self.call, self.ret, self.note = kind, value, call, ret, note

    @property
    def known(self):
        return self.ret != NEVER

    def __repr__(self):
        return "%s %r [%s, %s]%s" % (self.kind, self.value, self.call, self.ret if self.known else "?",
                                     " " + self.note if self.note else "")


def check_register(ops, initial=None):
    """None, or a sentence that says what cannot be."""
    writes, reads = {}, {}
    for op in ops:
        if op.kind == "write":
            assert op.value not in writes and op.value != initial, "a value written twice: %r" % op.value
            writes[op.value] = op
        elif op.known:
            reads.setdefault(op.value, []).append(op)

    zones = []  # (first return, last call, an op for the message)
    for value, seen in reads.items():
        first, last = min(seen, key=lambda o: o.ret), max(seen, key=lambda o: o.call)
        if value == initial:
            zones.append((-math.inf, last.call, last))
        elif value not in writes:
            return "a value that nobody wrote: %r" % first
        elif first.ret < writes[value].call:
            return "read before it was written: %r, %r" % (first, writes[value])
        else:
            zones.append((min(writes[value].ret, first.ret), max(writes[value].call, last.call), last))
    for value, write in writes.items():
        if value not in reads and write.known:  # unseen and unknown: it may never have happened
            zones.append((write.ret, write.call, write))

    # A forward zone (first return before last call) is a time in which the register held that value
    # and no other.
    forward = sorted((z for z in zones if z[0] < z[1]), key=lambda z: z[0])
    for a, b in itertools.pairwise(forward):
        if b[0] < a[1]:
            return "two values at the same time: %r, %r" % (a[2], b[2])
    starts = [z[0] for z in forward]
    for z in zones:
        # The other zones are a time within which their value was there at some moment.
        if z[0] >= z[1]:
            i = bisect.bisect_left(starts, z[1]) - 1
            if i >= 0 and z[0] < forward[i][1]:
                return "%r lies within the time of another value, seen by %r" % (z[2], forward[i][2])
    return None


def check_counter(ops, initial=0):
    """None, or a sentence that says what cannot be."""
    known = [op for op in ops if op.known]
    unknown = [op for op in ops if not op.known and op.kind == "write"]
    made = {}
    for op in known:
        if op.kind == "write":
            if op.value in made:
                return "the same value twice: %r, %r" % (made[op.value], op)
            if op.value <= initial:
                return "a value below the first: %r" % op
            made[op.value] = op
        elif op.value < initial:
            return "a value below the first: %r" % op

    # In order of time, what later operations must come after.
    by_return = sorted(known, key=lambda o: o.ret)
    returns = [op.ret for op in by_return]
    highest = list(itertools.accumulate(by_return, lambda a, b: b if b.value > a.value else a))

    def before(op):
        i = bisect.bisect_left(returns, op.call) - 1
        return highest[i] if i >= 0 else None

    for op in known:
        b = before(op)
        if b and (op.value < b.value or op.value == b.value and op.kind == "write"):
            return "later, yet not after: %r, then %r" % (b, op)

    # Values nobody claims, lowest first: each needs an increment of its own, called before anybody had
    # seen that value or a higher one.
    top = max((op.value for op in known), default=initial)
    gaps = [v for v in range(initial + 1, top + 1) if v not in made]
    latest = sorted(before(u).value if before(u) else initial for u in unknown)
    for n, gap in enumerate(gaps, 1):
        if bisect.bisect_left(latest, gap) < n:
            return "nobody can have made %d" % gap
    return None
