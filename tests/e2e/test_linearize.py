"""The judge of histories is judged first: by examples, and by a search through all orders."""
import itertools
import os
import random

import pytest

from linearize import NEVER, Op, check_counter, check_register

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))


def w(value, call, ret=NEVER):
    return Op("write", value, call, ret)


def r(value, call, ret):
    return Op("read", value, call, ret)


GOOD_REGISTERS = {
    "nothing": [],
    "the first value": [r(None, 1, 2)],
    "a write and its read": [w(1, 1, 2), r(1, 3, 4)],
    "a read beside a write sees either": [w(1, 1, 10), r(None, 2, 3), r(1, 4, 5)],
    "writes at the same time in either order": [w(1, 1, 10), w(2, 1, 10), r(2, 11, 12)],
    "an unknown write that came to nothing": [w(1, 1, 2), w(2, 3), r(1, 4, 5), r(1, 6, 7)],
    "an unknown write that takes effect late": [w(1, 1, 2), w(2, 3), r(1, 4, 5), w(3, 6, 7), r(3, 8, 9), r(2, 10, 11)],
    "a read of unknown outcome": [w(1, 1, 2), Op("read", None, 3)],
}
BAD_REGISTERS = {
    "a lost write": [w(1, 1, 2), r(None, 3, 4)],
    "an old read after a new one": [w(1, 1, 10), r(1, 2, 3), r(None, 4, 5)],
    "an old read from a deposed leader": [w(1, 1, 2), w(2, 3, 4), r(2, 5, 6), r(1, 7, 8)],
    "invented": [w(1, 1, 2), r(7, 3, 4)],
    "read before it was written": [r(1, 1, 2), w(1, 3, 4)],
    "back and forth": [w(1, 1, 10), w(2, 1, 10), r(1, 11, 12), r(2, 13, 14), r(1, 15, 16)],
    "an unknown write seen and then unseen": [w(1, 1, 2), w(2, 3), r(2, 4, 5), r(1, 6, 7)],
    "a write within the time of another": [w(1, 1, 2), w(2, 5, 6), r(1, 8, 9)],
}
GOOD_COUNTERS = {
    "in order": [w(1, 1, 2), w(2, 3, 4), r(2, 5, 6)],
    "at the same time": [w(2, 1, 10), w(1, 1, 10), r(0, 2, 3), r(1, 4, 5)],
    "an unknown one in between": [w(1, 1, 2), w(None, 3), w(3, 4, 5), r(3, 6, 7)],
    "an unknown one that came late": [w(1, 1, 2), w(None, 3), r(1, 4, 5), r(2, 6, 7)],
}
BAD_COUNTERS = {
    "lost": [w(1, 1, 2), r(0, 3, 4)],
    "twice": [w(1, 1, 2), r(2, 3, 4)],
    "the same value twice": [w(1, 1, 2), w(1, 3, 4)],
    "an unknown one counted twice": [w(1, 1, 2), w(None, 3), r(3, 6, 7)],
    "against time": [w(2, 1, 2), w(1, 3, 4)],
    "the unknown one came later": [w(2, 1, 2), w(None, 3)],
    "made after it was seen": [r(1, 1, 2), w(1, 3, 4)],
}


@pytest.mark.parametrize("name", GOOD_REGISTERS)
def test_a_good_register(name):
    assert check_register(GOOD_REGISTERS[name]) is None


@pytest.mark.parametrize("name", BAD_REGISTERS)
def test_a_bad_register(name):
    assert check_register(BAD_REGISTERS[name])


@pytest.mark.parametrize("name", GOOD_COUNTERS)
def test_a_good_counter(name):
    assert check_counter(GOOD_COUNTERS[name]) is None


@pytest.mark.parametrize("name", BAD_COUNTERS)
def test_a_bad_counter(name):
    assert check_counter(BAD_COUNTERS[name])


# --- against a search ------------------------------------------------------------------------------


def step_register(state, op):
    if op.kind == "write":
        return [op.value]
    return [state] if state == op.value else []


def step_counter(state, op):
    if op.kind == "write":
        return [state + 1] if op.value in (None, state + 1) else []
    return [state] if state == op.value else []


def search(ops, step, state):
    """J. Wing and C. Gong's search: is there an order?  Operations of unknown outcome may be left out."""
    ops = [op for op in ops if op.known or op.kind == "write"]
    dead = set()

    def go(left, state):
        if not any(op.known for op in left):
            return True
        if (left, state) in dead:
            return False
        first = min(op.ret for op in left)
        for op in left:
            if op.call <= first:
                for after in step(state, op):
                    if go(left - {op}, after):
                        return True
        dead.add((left, state))
        return False

    return go(frozenset(ops), state)


def random_history(rand, counter):
    """Mostly what a sound server would do, then disturbed now and then."""
    ops, state, t = [], 0 if counter else None, 0
    value = itertools.count(1)
    spread = rand.choice([2, 3, 5, 9])
    for _ in range(rand.randrange(1, 9)):
        t += 2
        call, ret = t - rand.randrange(spread) * 2, t + 1 + rand.randrange(spread) * 2
        if rand.random() < 0.5:
            state = state + 1 if counter else next(value)
            known = rand.random() < 0.7
            ops.append(w(state if known or not counter else None, call, ret if known else NEVER))
            if not known and rand.random() < 0.5:
                state = state - 1 if counter else rand.choice([o.value for o in ops if o.kind == "write"])
        else:
            ops.append(r(state, call, ret))
    for op in ops:
        if rand.random() < 0.25 and op.known:
            others = [o.value for o in ops if o.value is not None]
            if counter:
                op.value = max(0, op.value + rand.choice([-1, 1]))
                if op.kind == "write" and op.value == 0:
                    op.value = 1
            elif op.kind == "read" and others:
                op.value = rand.choice(others)
    return ops


@pytest.mark.parametrize("counter", [False, True], ids=["register", "counter"])
def test_random_histories_are_judged_as_a_search_would(counter):
    print("SEED=%d" % SEED)
    rand = random.Random(SEED)
    verdicts = [0, 0]
    for _ in range(4000):
        ops = random_history(rand, counter)
        if counter:
            mine, true = check_counter(ops), search(ops, step_counter, 0)
        else:
            mine, true = check_register(ops), search(ops, step_register, None)
        assert (mine is None) == true, (mine, ops)
        verdicts[true] += 1
    assert min(verdicts) > 200, verdicts  # of both kinds
