"""The schedule of rollout lengths, epoch by epoch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo.model.gates.schedule import scheduled_rollout_length

HOPPER = {"start_epoch": 20, "end_epoch": 150, "start": 1, "end": 15}


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, 1),
        (20, 1),
        (21, 1),  # 1 + 14/130 = 1.1
        (29, 1),  # 1 + 9·14/130 = 1.97
        (30, 2),  # 1 + 10·14/130 = 2.08: the first epoch of two steps
        (85, 8),  # half way: 1 + 65·14/130 = 8 exactly
        (84, 7),
        (149, 14),  # 1 + 129·14/130 = 14.9
        (150, 15),
        (151, 15),
        (1000, 15),
    ],
)
def test_hoppers_schedule_by_hand(epoch, expected):
    assert scheduled_rollout_length(epoch, **HOPPER) == expected


def test_ants_schedule_takes_every_length_once_in_order():
    lengths = [scheduled_rollout_length(e, start_epoch=20, end_epoch=100, start=1, end=25) for e in range(101)]
    # 24 more steps over 80 epochs: one more every 10/3 epochs, so at 24 (1 + 4·0.3 = 2.2), not at 23 (1.9).
    assert (lengths[23], lengths[24], lengths[99], lengths[100]) == (1, 2, 24, 25)
    assert sorted(set(lengths)) == list(range(1, 26))
    assert lengths == sorted(lengths)


def test_constant_schedules_stay_constant():
    for epoch in (0, 1, 2, 14, 15, 16):
        assert scheduled_rollout_length(epoch, start_epoch=1, end_epoch=15, start=1, end=1) == 1
        assert scheduled_rollout_length(epoch, start_epoch=0, end_epoch=0, start=10, end=10) == 10


def test_a_steep_schedule_stops_at_its_end():
    # Four steps more in one epoch: going on by the same slope would give 9 at epoch 2.
    lengths = [scheduled_rollout_length(e, start_epoch=0, end_epoch=1, start=1, end=5) for e in range(5)]
    assert lengths == [1, 5, 5, 5, 5]


@given(st.integers(0, 400), st.integers(0, 100), st.integers(1, 200), st.integers(1, 5), st.integers(0, 30))
def test_any_schedule_stays_between_its_ends_and_never_shrinks(epoch, start_epoch, duration, start, growth):
    schedule = {
        "start_epoch": start_epoch,
        "end_epoch": start_epoch + duration,
        "start": start,
        "end": start + growth,
    }
    now = scheduled_rollout_length(epoch, **schedule)
    assert start <= now <= start + growth
    assert now <= scheduled_rollout_length(epoch + 1, **schedule)
    exact = start + min(max((epoch - start_epoch) / duration, 0), 1) * growth
    assert now <= exact + 1e-9 < now + 1 + 1e-6
