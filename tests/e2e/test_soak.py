"""A short run of soak.py, which see: everything together, configured and broken as SEED says.

ROUNDS=n runs n seeds from SEED on, SOAK_SECONDS each.
"""
import os

import pytest

from chaos import ROUNDS, SEED
from soak import Story

SECONDS = float(os.environ.get("SOAK_SECONDS") or 30)


@pytest.mark.parametrize("seed", range(SEED, SEED + (ROUNDS or 1)))
def test_everything_together(directory, seed):
    print("SEED=%d" % seed)
    Story(directory, seed).run(SECONDS)
