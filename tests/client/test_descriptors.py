from __future__ import annotations

import errno
import resource

import pytest

from benchcore.base.errors import CapacityError
from benchcore.client import connection as descriptors
from benchcore.client.connection import SPARE_DESCRIPTORS, ensure_descriptors

INFINITY = resource.RLIM_INFINITY


class Limits:
    def __init__(self, soft, hard, refusal=None):
        self.now = (soft, hard)
        self.refusal = refusal

    def get(self, which):
        assert which == resource.RLIMIT_NOFILE
        return self.now

    def set(self, which, limits):
        assert which == resource.RLIMIT_NOFILE
        if self.refusal is not None:
            raise self.refusal
        self.now = limits


@pytest.fixture
def limits(monkeypatch):
    def use(*args):
        limits = Limits(*args)
        monkeypatch.setattr(descriptors.resource, "getrlimit", limits.get)
        monkeypatch.setattr(descriptors.resource, "setrlimit", limits.set)
        return limits

    return use


@pytest.mark.parametrize(
    ("soft", "hard", "after"),
    [
        (1000 + SPARE_DESCRIPTORS, 5000, 1000 + SPARE_DESCRIPTORS),
        (999 + SPARE_DESCRIPTORS, 5000, 1000 + SPARE_DESCRIPTORS),
        (256, 1000 + SPARE_DESCRIPTORS, 1000 + SPARE_DESCRIPTORS),
        (256, INFINITY, 1000 + SPARE_DESCRIPTORS),
        (INFINITY, INFINITY, INFINITY),
        (9000, 9000, 9000),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_needed(limits, soft, hard, after):
    found = limits(soft, hard)
    ensure_descriptors(1000)
    assert found.now == (after, hard)


def test_a_hard_limit_that_is_too_low_is_refused_with_advice(limits):
    found = limits(256, 999 + SPARE_DESCRIPTORS)
    with pytest.raises(CapacityError, match=r"1000 connections need 1064 .* 1063; .*ulimit -Hn"):
        ensure_descriptors(1000)
    assert found.now == (256, 999 + SPARE_DESCRIPTORS)


@pytest.mark.parametrize("refusal", [OSError(errno.EPERM, "no"), ValueError("no")])
def test_a_limit_that_cannot_be_raised_is_refused_with_advice(limits, refusal):
    limits(256, INFINITY, refusal)
    with pytest.raises(CapacityError, match=r"limit of 256 cannot be raised .*ulimit -n 1064"):
        ensure_descriptors(1000)
