"""Batches: every row once, bucketed by length, the same again from seed and epoch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data import Batches
from elman.errors import UserError

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=70)


def tokens(lengths):
    return [[100 * row + step + 1 for step in range(length)] for row, length in enumerate(lengths)]


def rows(batches, epoch=0, start=0):
    return [batch.rows.tolist() for batch in batches.epoch(epoch, start)]


@settings(max_examples=80, deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 9), epoch=st.integers(0, 3), shuffle=st.booleans())
def test_each_row_exactly_once_and_as_it_was(lengths, size, epoch, shuffle):
    sequences = tokens(lengths)
    batches = Batches(sequences, range(len(lengths)), batch_size=size, shuffle=shuffle)
    seen = []
    for batch in batches.epoch(epoch):
        assert 1 <= len(batch.rows) <= size
        assert batch.inputs.shape == (len(batch.rows), max(1, int(batch.lengths.max())))
        assert batch.targets.tolist() == batch.rows.tolist()
        for row, ids, length in zip(
            batch.rows.tolist(), batch.inputs.tolist(), batch.lengths.tolist(), strict=True
        ):
            assert ids[:length] == sequences[row]
            assert not any(ids[length:])
            seen.append(row)
    assert sorted(seen) == list(range(len(lengths)))
    assert len(batches) == len(list(batches.epoch(epoch))) == -(-len(lengths) // size)


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 9), epoch=st.integers(0, 3), data=st.data())
def test_starting_later_is_the_tail(lengths, size, epoch, data):
    batches = Batches(tokens(lengths), batch_size=size, seed=5)
    start = data.draw(st.integers(0, len(batches)))
    again = Batches(tokens(lengths), batch_size=size, seed=5)
    assert rows(again, epoch, start) == rows(batches, epoch)[start:]


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 5), processes=st.integers(1, 4), shuffle=st.booleans())
def test_ranks_partition_the_rows(lengths, size, processes, shuffle):
    if len(lengths) < processes or (size == 1 and len(lengths) % processes):
        with pytest.raises(UserError, match="every process needs a row for each of its batches"):
            Batches(tokens(lengths), batch_size=size, processes=processes)
        return
    shared = [
        Batches(tokens(lengths), batch_size=size, shuffle=shuffle, rank=rank, processes=processes)
        for rank in range(processes)
    ]
    every = [rows(batches, 2) for batches in shared]
    assert {len(batches) for batches in every} == {len(shared[0])}
    assert all(0 < len(batch) <= size for batches in every for batch in batches)
    assert sorted(row for batches in every for batch in batches for row in batch) == list(range(len(lengths)))


def test_order_depends_on_seed_and_epoch_alone():
    lengths = [row % 17 for row in range(300)]
    one, other = (Batches(tokens(lengths), batch_size=8, seed=seed) for seed in (1, 2))
    assert rows(one, 0) != rows(one, 1)
    assert rows(one, 0) != rows(other, 0)
    assert rows(one, 1) == rows(one, 1)
    assert rows(Batches(tokens(lengths), batch_size=8, seed=-1)) != rows(one)


def test_lengths_in_a_batch_are_alike_and_batches_come_in_any_order():
    lengths = np.random.default_rng(0).integers(1, 100, 600).tolist()
    batches = list(Batches(tokens(lengths), batch_size=16).epoch(0))
    assert sum(batch.inputs.numel() for batch in batches) < 1.1 * sum(lengths)
    longest = [batch.inputs.shape[1] for batch in batches]
    # One pool: its batches were cut in the order of their lengths.
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_processes_take_batches_of_like_length_at_the_same_time():
    lengths = np.random.default_rng(0).integers(1, 1000, 400).tolist()
    pair = [Batches(tokens(lengths), batch_size=4, rank=rank, processes=2).epoch(0) for rank in range(2)]
    apart = [abs(one.inputs.shape[1] - other.inputs.shape[1]) for one, other in zip(*pair, strict=True)]
    assert sum(apart) / len(apart) < 50


def test_without_shuffling_rows_come_by_length_every_time():
    batches = Batches(tokens([3, 1, 2, 1, 0]), batch_size=2, shuffle=False)
    assert rows(batches, 0) == rows(batches, 7) == [[4], [1, 3], [2, 0]]


def test_sizes_differ_by_one_at_most():
    sizes = {len(batch) for batch in rows(Batches(tokens([1] * 33), batch_size=8))}
    assert sizes == {6, 7}


@pytest.mark.parametrize("form", [np.asarray, torch.as_tensor, list])
def test_features(form):
    values = [[[0.5, 1.0], [2.0, 3.0]], [], [[4.0, 5.0]]]
    sequences = [form(value) if value else [] for value in values]
    (batch,) = Batches(sequences, [0.5, 1, 2], batch_size=3, shuffle=False).epoch(0)
    assert batch.rows.tolist() == [1, 2, 0]
    assert batch.inputs.dtype == torch.float32
    assert batch.inputs.tolist() == [[[0, 0], [0, 0]], [[4, 5], [0, 0]], [[0.5, 1], [2, 3]]]
    assert batch.lengths.tolist() == [0, 1, 2]
    assert (batch.targets.dtype, batch.targets.tolist()) == (torch.float32, [1, 2, 0.5])
    assert batch.tokens == 3


def test_kinds_of_numbers():
    (batch,) = Batches([np.array([1, 2], np.int16)], torch.tensor([1.5], dtype=torch.float64), batch_size=1).epoch(
        0
    )
    assert (batch.inputs.dtype, batch.lengths.dtype, batch.rows.dtype) == (torch.int64,) * 3
    assert batch.targets.dtype == torch.float32
    (batch,) = Batches([[1]], torch.tensor([True]), batch_size=1).epoch(0)
    assert batch.targets.dtype == torch.int64
    (batch,) = Batches([[], []], batch_size=2).epoch(0)
    assert (batch.inputs.tolist(), batch.targets) == ([[0], [0]], None)


def test_moving_to_a_device_moves_everything():
    (batch,) = Batches([[1, 2]], [1], batch_size=1).epoch(0)
    moved = batch.to("meta")
    assert {part.device.type for part in (moved.inputs, moved.lengths, moved.targets, moved.rows)} == {"meta"}
    (bare,) = Batches([[1, 2]], batch_size=1).epoch(0)
    assert bare.to("meta").targets is None


GOOD = np.ones((4, 3))


def spoilt(value):
    array = GOOD.copy()
    array[2, 1] = value
    return array


@pytest.mark.parametrize(
    ("sequences", "said"),
    [
        ([GOOD, spoilt(np.nan)], "row 1, step 2, column 1: features must be finite; found: nan"),
        ([GOOD, np.empty((0, 3)), spoilt(-np.inf)], "row 2, step 2, column 1: features must be finite"),
        ([spoilt(1e300)], "row 0, step 2, column 1: features must be finite; found: 1e+300"),
        ([GOOD, np.ones((4, 2))], "row 1: every sequence must have the shape ('steps', 3) of the first"),
        ([GOOD, [1, 2]], "row 1: every sequence must have the shape ('steps', 3) of the first"),
        ([[1, 2], GOOD], "row 1: every sequence must have the shape ('steps',) of the first"),
        ([np.ones((4, 0))], "a width of 1 or more"),
        ([np.ones((2, 2, 2))], "row 0: a sequence must be token ids (steps,) or features (steps, width)"),
        ([3], "row 0: a sequence must be token ids (steps,) or features (steps, width); found: shape ()"),
        ([[1], [[1.0], [1.0, 2.0]]], "row 1: all steps of a sequence must be of one width"),
        ([[1], ["a"]], "row 1: a sequence must hold numbers"),
        ([[1], [None]], "row 1: a sequence must hold numbers"),
        ([[1], [0.5]], "row 1: token ids are whole numbers; found: floats"),
        ([[], [1], [4, -2]], "row 2, step 1: token ids start at 0; found: -2"),
        ([], "there must be at least one sequence"),
    ],
    ids=range(15),
)  # fmt: skip
def test_bad_sequences(sequences, said):
    with pytest.raises(UserError) as caught:
        Batches(sequences, batch_size=2)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch_size": 0}, "batch_size: a batch must hold at least 1 sequence; found: 0"),
        ({"rank": 2, "processes": 2}, "found: rank 2 of 2"),
        ({"rank": -1}, "found: rank -1 of 1"),
        ({"batch_size": 1, "processes": 2}, "found: 3 rows in batches of 1 for 2 processes"),
        ({"processes": 4}, "found: 3 rows in batches of 2 for 4 processes"),
        ({"targets": [1, 2]}, "targets: there must be one target for each of the 3 sequences; found: shape (2,)"),
        ({"targets": [0.0, float("nan"), 1.0]}, "row 1: targets must be finite; found: nan"),
    ],
)
def test_bad_settings(settings, said):
    with pytest.raises(UserError) as caught:
        Batches([[1], [2], [3]], **{"batch_size": 2, **settings})
    assert said in str(caught.value)


@pytest.mark.parametrize(("number", "start"), [(-1, 0), (0, -1), (0, 3)])
def test_no_such_epoch_or_batch_is_said_at_once(number, start):
    with pytest.raises(UserError, match=f"found: epoch {number}, start {start}"):
        Batches([[1], [2], [3]], batch_size=2).epoch(number, start)


def test_targets_of_the_steps_are_padded_with_what_a_loss_leaves_out():
    sequences, targets = [[5, 6, 7], [8]], [np.array([[1, 0], [0, 2], [1, 1]]), np.array([[0, 1]])]
    batch = next(Batches(sequences, targets, batch_size=2, shuffle=False).epoch(0))
    assert batch.inputs.tolist() == [[8, 0, 0], [5, 6, 7]]
    assert batch.targets.tolist() == [[[0, 1], [-100, -100], [-100, -100]], [[1, 0], [0, 2], [1, 1]]]
    one = next(Batches(sequences, [t[:, 0] for t in targets], batch_size=2, shuffle=False).epoch(0))
    assert one.to("cpu").targets.tolist() == [[0, -100, -100], [1, 0, 1]]


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([np.array([1, 0])], "targets for each of the 2 sequences; found: 1"),
        ([np.array([1, 0]), np.array([1, 0])], "row 1: every step must have its target; found: 2 targets for 1"),
        ([np.array([[0.5], [1.0]]), np.array([[1.0]])], "targets of steps must be class numbers"),
    ],
)
def test_targets_of_steps_that_do_not_fit_are_refused(targets, words):
    with pytest.raises(UserError, match=words):
        Batches([[5, 6], [8]], targets, batch_size=2)
