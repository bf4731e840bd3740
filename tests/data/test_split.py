"""Rows into three parts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data import split, split_in_order
from elman.errors import UserError


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 12), min_size=3, max_size=80).filter(lambda names: len(set(names)) >= 3),
    seed=st.integers(0, 5),
)
def test_groups_are_whole_and_rows_come_once(groups, seed):
    parts = split(len(groups), seed=seed, groups=groups)
    assert sorted(row for part in parts for row in part) == list(range(len(groups)))
    names = [{groups[row] for row in part} for part in parts]
    assert all(names)
    assert sum(map(len, names)) == len(set(groups))


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.sampled_from("abc"), min_size=40, max_size=200), seed=st.integers(0, 5))
def test_each_class_is_dealt_out_by_the_shares(labels, seed):
    parts = split(len(labels), seed=seed, labels=labels)
    assert sorted(row for part in parts for row in part) == list(range(len(labels)))
    for name in set(labels):
        count = labels.count(name)
        for part, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
            assert abs(sum(labels[row] == name for row in part) - share * count) <= 1


def test_the_same_everywhere_and_another_for_another_seed():
    # Written down once: another platform or version must not change it.
    assert split(12, seed=7) == ([0, 1, 2, 3, 4, 5, 7, 8, 9, 10], [11], [6])
    assert split(100, seed=1) == split(100, seed=1) != split(100, seed=2)


def test_parts_are_ascending_and_sized_by_the_shares():
    parts = split(1000, seed=3, parts=(0.5, 0.3, 0.2))
    assert [len(part) for part in parts] == [500, 300, 200]
    assert all(part == sorted(part) for part in parts)


def test_shares_count_rows_however_large_the_groups():
    groups = [size for size in range(1, 41) for _ in range(size)]
    for part, share in zip(split(len(groups), seed=0, groups=groups), (0.8, 0.1, 0.1), strict=True):
        assert abs(len(part) - share * len(groups)) <= 40


def test_large_groups_go_to_every_part_as_often_as_small_ones():
    groups = [f"document {number // 12}" for number in range(2400)] + [f"row {number}" for number in range(4000)]
    parts = split(len(groups), seed=0, groups=groups)
    for part, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
        assert 0.5 * share < sum(row < 2400 for row in part) / 2400 < 1.5 * share


def test_groups_are_dealt_out_by_the_class_of_their_first_row():
    groups = [number // 4 for number in range(400)]
    labels = ["rare" if group < 10 else "often" for group in groups]
    parts = split(400, seed=0, groups=groups, labels=labels)
    assert [sum(labels[row] == "rare" for row in part) for part in parts] == [32, 4, 4]


def test_rows_are_mixed():
    assert split(1000, seed=0).test != list(range(900, 1000))
    assert 350 < sum(split(1000, seed=0).test) / 100 < 650


def test_the_only_row_of_a_class_is_trained_on():
    assert 20 in split(21, seed=0, labels=["a"] * 20 + ["b"]).train


def test_a_share_of_zero_leaves_the_part_empty():
    parts = split(20, seed=0, parts=(0.9, 0.1, 0.0))
    assert [len(part) for part in parts] == [18, 2, 0]


def test_few_rows_still_fill_every_part():
    assert [len(part) for part in split(3, seed=0)] == [1, 1, 1]
    assert [len(part) for part in split(4, seed=0, labels="aabb")] == [2, 1, 1]
    assert all(split(9, seed=0, groups=["x"] * 7 + ["y", "z"]))


@pytest.mark.parametrize(
    ("count", "settings", "said"),
    [
        (2, {}, "found: 2 rows; at least 3 rows are needed"),
        (0, {}, "found: 0 rows"),
        (10, {"groups": ["a", "b"] * 5}, "found: 2 groups; at least 3 groups are needed"),
        (10, {"parts": (0.8, 0.1, 0.2)}, "must be three numbers from 0 that add up to 1"),
        (10, {"parts": (1.1, -0.1, 0.0)}, "must be three numbers"),
        (10, {"parts": (float("nan"), 0.5, 0.5)}, "must be three numbers"),
        (10, {"parts": (0.5, 0.5)}, "must be three numbers"),
        (10, {"groups": ["a"]}, "as many groups as rows, 10; found: 1"),
        (10, {"labels": ["a"]}, "as many labels as rows, 10; found: 1"),
    ],
)
def test_refused(count, settings, said):
    with pytest.raises(UserError) as caught:
        split(count, seed=0, **settings)
    assert said in str(caught.value)


def test_in_order_the_last_groups_are_the_test_part() -> None:
    groups = [*"aabbbcccdd", *"ee"]
    found = split_in_order(groups, (0.6, 0.2, 0.2))
    assert found == ([*range(8)], [8, 9], [10, 11])
    assert split_in_order([1, 2, 3], (0.98, 0.01, 0.01)) == ([0], [1], [2])
    assert split_in_order([1, 2, 3], (0.01, 0.01, 0.98)) == ([0], [1], [2])
    with pytest.raises(UserError, match="2 groups; at least 3"):
        split_in_order([1, 1, 2])
