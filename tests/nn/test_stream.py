"""Streams: the same numbers as one call, however the sequence comes, and forks that leave each other alone."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from backends import assert_engine_bits
from elman.cells import Cell, Step
from elman.errors import UserError
from elman.nn import GRU, LSTM, RNN, Recurrent, Stream
from every_cell import EVERY_CELL
from tolerances import assert_equal


@st.composite
def cut_sequences(draw: st.DrawFn) -> tuple[int, int, int, list[int]]:
    """Layers, units, rows and how long each piece is; 0: an empty one, 1: a step."""
    pieces = draw(st.lists(st.integers(0, 4), min_size=1, max_size=8))
    return draw(st.integers(1, 3)), draw(st.sampled_from([5, 16, 40])), draw(st.integers(1, 3)), pieces


def read_in_pieces(stream: Stream, x: Tensor, pieces: list[int]) -> Tensor:
    found, t = [], 0
    for length in pieces:
        found.append(stream.step(x[:, t])[:, None] if length == 1 else stream.push(x[:, t : t + length]))
        t += length
    return torch.cat(found, 1)


@pytest.mark.parametrize("cell", EVERY_CELL)
@given(case=cut_sequences(), seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_whatever_the_pieces_a_stream_gives_the_bits_of_one_call(
    cell: str, case: tuple[int, int, int, list[int]], seed: int
) -> None:
    layers, units, rows, pieces = case
    torch.manual_seed(seed)
    layer, x = Recurrent(EVERY_CELL[cell], 3, units, layers, dropout=0.5), torch.randn(rows, sum(pieces), 3)
    y, final = layer.eval()(x)
    stream = layer.train().stream(rows)  # dropout is off all the same
    assert_engine_bits(read_in_pieces(stream, x, pieces), y)
    for got, wanted in zip(stream.state, final, strict=True):
        assert_engine_bits(got, wanted)


def test_a_saved_stream_goes_on_in_another_process_or_row_count(tmp_path: Path) -> None:
    layer, x = Recurrent("lstm", 3, 5, 2), torch.randn(4, 6, 3)
    y, file = layer(x)[0], tmp_path / "live.safetensors"
    for steps in (1, 3):  # from the second on in memory of its own
        stream = layer.stream(rows=4)
        for t in range(steps):
            stream.step(x[:, t])
        stream.save(file)
        other = layer.stream()
        other.load(file)
        assert other.rows == 4
        assert_engine_bits(other.push(x[:, steps:]), y[:, steps:])
        stream.step(x[:, 0])
        stream.load(file)
        assert_engine_bits(stream.step(x[:, steps]), y[:, steps])
    assert [path.name for path in tmp_path.iterdir()] == ["live.safetensors"]


def test_states_of_other_layers_are_refused(tmp_path: Path) -> None:
    stream, file = Recurrent("lstm", 3, 5).stream(rows=2), tmp_path / "live.safetensors"
    stream.save(file)
    for other in (
        Recurrent("peepholelstm", 3, 5),  # the same names and sizes
        Recurrent("lstm", 4, 5),
        Recurrent("lstm", 3, 6),
        Recurrent("lstm", 3, 5, 2),
        Recurrent("lstm", 3, 5, dtype=torch.float64),
    ):
        kept = other.stream()
        with pytest.raises(UserError, match="other"):
            kept.load(file)
        assert kept.rows == 1
    file.write_bytes(b"no states")
    for path in (file, tmp_path / "missing"):
        with pytest.raises(UserError, match="no states can be read"):
            stream.load(path)
    for states in (
        {"h": torch.zeros(1, 2, 5)},
        {"h": torch.zeros(1, 2, 5), "c": torch.zeros(1, 3, 5)},
        {"h": torch.zeros(1, 5), "c": torch.zeros(1, 5)},
    ):
        save_file(states, file, {"layers": Recurrent("lstm", 3, 5).identity()})
        with pytest.raises(UserError, match="other sizes"):
            stream.load(file)


def test_a_save_that_fails_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, file = Recurrent("gru", 3, 5).stream(), tmp_path / "live.safetensors"
    stream.save(file)
    before = file.read_bytes()
    stream.push(torch.randn(1, 2, 3))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        stream.save(file)
    assert file.read_bytes() == before
    assert len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_drop_in_streams_in_its_own_layout(kind: type, batch_first: bool) -> None:
    layer, time = kind(3, 5, 2, batch_first=batch_first, dropout=0.5), 1 if batch_first else 0
    x = torch.randn(4, 7, 3) if batch_first else torch.randn(7, 4, 3)
    y, final = layer.eval()(x)
    stream = layer.stream(rows=4)
    pieces = [stream.push(x.narrow(time, 0, 3)), *(stream.step(x.select(time, t)) for t in (3, 4))]
    pieces = [pieces[0], *(piece.unsqueeze(time) for piece in pieces[1:]), stream.push(x.narrow(time, 5, 2))]
    assert_engine_bits(torch.cat(pieces, time), y)
    for got, wanted in zip(stream.state, final if isinstance(final, tuple) else (final,), strict=True):
        assert_engine_bits(got, wanted)
    onwards = layer.stream(state=final)
    assert_engine_bits(onwards.step(x.select(time, 0)), stream.step(x.select(time, 0)))
    with pytest.raises(ValueError, match="both directions"):
        kind(3, 5, bidirectional=True).stream()


@pytest.mark.parametrize("rows", [1, 3, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("cell", "units"), [("lstm", 130), ("lstm", 250), ("layernormlstm", 250), ("mgu", 350)])
def test_single_steps_give_the_bits_of_one_call(rows: int, dtype: torch.dtype, cell: str, units: int) -> None:
    torch.set_num_threads(2)  # which share out the units of the larger ones
    try:
        layer, x = Recurrent(cell, 65, units, dtype=dtype), torch.randn(rows, 7, 65, dtype=dtype)
        y, final = layer(x)
        stream, out = Stream(layer, rows=rows), torch.empty(rows, units, dtype=dtype)
        for t in range(7):
            assert stream.step(x[:, t].contiguous(), out) is out
            assert_engine_bits(out, y[:, t])
        assert_engine_bits(stream.state[-1], final[-1])
    finally:
        torch.set_num_threads(1)


def test_a_stream_goes_on_when_the_number_of_threads_changes() -> None:
    layer, x = Recurrent("gru", 40, 200), torch.randn(2, 6, 40)
    stream, found = Stream(layer, rows=2), []
    try:
        for t in range(6):
            torch.set_num_threads(1 + t // 3)
            found.append(stream.step(x[:, t]))
    finally:
        torch.set_num_threads(1)
    assert_engine_bits(torch.stack(found, 1), layer(x)[0])


def test_a_stream_forks_reorders_and_starts_afresh() -> None:
    layer, x = Recurrent("gru", 3, 5, initial_state="trainable"), torch.randn(3, 4, 3)
    y = layer(x)[0]
    for settled in (1, 3):  # steps before: from the second on, the stream has memory of its own
        stream = Stream(layer, rows=3)
        for t in range(settled):
            before = stream.step(x[:, t])
        kept = before.clone()
        twin = stream.fork()
        twin.select(torch.tensor([2, 2]))
        assert_equal(twin.step(x[[2, 2], settled]), y[[2, 2], settled])
        assert stream.rows == 3
        stream.select(torch.tensor([1, 0, 2]))
        assert_equal(stream.step(x[[1, 0, 2], settled]), y[[1, 0, 2], settled])
        stream.reset(torch.tensor([1]))
        again = stream.step(x[[1, 0, 2], 0])
        assert_equal(again[1], y[0, 0])
        assert not torch.equal(again[0], y[1, 0])
        stream.reset()
        assert_equal(stream.step(x[:, 0]), y[:, 0])
        assert torch.equal(before, kept)
    with pytest.raises(ValueError, match="both directions"):
        Stream(Recurrent("gru", 3, 5, bidirectional=True))


def test_states_that_were_read_stay_what_they_were() -> None:
    layer, x = Recurrent("lstm", 3, 5), torch.randn(2, 5, 3)
    stream = Stream(layer, rows=2)
    for t in range(4):
        stream.step(x[:, t])
    state = stream.state
    kept = [s.clone() for s in state]
    stream.step(x[:, 4])
    assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True))
    with torch.inference_mode():
        resumed = Stream(layer, state=state)
        for _ in range(3):
            resumed.step(x[:, 4])
    resumed.reset()  # outside of the mode that its steps were taken in
    assert_equal(resumed.step(x[:, 0]), layer(x)[0][:, 0])


def test_a_cell_that_the_engine_cannot_run_streams_by_its_definition() -> None:
    @dataclass(frozen=True)
    class Sine(Cell):
        gates = ("h",)

        def step(self, x, s, w):
            return Step(h=torch.sin(x.h + w(s.h).h))

    layer, x = Recurrent(Sine(), 3, 5, backend="eager"), torch.randn(2, 4, 3)
    stream = Stream(layer, rows=2)
    assert_equal(torch.stack([stream.step(x[:, t]) for t in range(4)], 1), layer(x)[0])


@pytest.mark.native
def test_what_does_not_fit_is_refused() -> None:
    stream = Stream(Recurrent("rnn", 3, 5), rows=2)
    for _ in range(2):
        stream.step(torch.zeros(2, 3))
    for x in (torch.zeros(2, 4), torch.zeros(3, 3), torch.zeros(2, 3, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"x must be \(2, 3\) of torch.float32 on the CPU"):
            stream.step(x)
    for out in (torch.zeros(2, 4), torch.zeros(5, 2).t()):
        with pytest.raises(ValueError, match="out must be"):
            stream.step(torch.zeros(2, 3), out)
    for x in (torch.zeros(3, 4, 3), torch.zeros(2, 3)):
        with pytest.raises(ValueError, match="as many rows as the stream, 2, and three dimensions"):
            stream.push(x)
    strided = torch.randn(2, 6)[:, ::2]
    twin = stream.fork()
    assert torch.equal(stream.step(strided), twin.step(strided.contiguous()))


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_the_weights_are_those_of_the_moment(backend: str) -> None:
    layer, x = Recurrent("gru", 3, 5, backend=backend), torch.randn(2, 4, 3)
    stream, before = layer.stream(rows=2), layer(x)[0].detach()
    with torch.no_grad():
        layer.weight_hh_l0.mul_(2)
    assert_equal(stream.push(x), before)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_a_fork(copied: Callable[[Stream], Stream]) -> None:
    stream, x = Recurrent("lstm", 3, 5, 2).stream(rows=2), torch.randn(2, 4, 3)
    for t in range(3):
        stream.step(x[:, t])
    twin = copied(stream)
    assert torch.equal(twin.step(x[:, 3]), stream.step(x[:, 3]))


def test_a_step_that_negates_is_read_as_it_reads() -> None:
    stream, x = Recurrent("lstm", 3, 5).stream(rows=2), torch.randn(2, 3)
    for _ in range(3):
        twin = stream.fork()
        assert_equal(stream.step(torch._neg_view(x)), twin.step(-x))


_MANY_THREADS = """
import threading
import torch
from elman.nn import Recurrent

stream, x = Recurrent("lstm", 3, 5, 2).stream(rows=2), torch.randn(2, 3)
for _ in range(2):
    stream.step(x)
threads = [threading.Thread(target=lambda: [stream.step(x) for _ in range(2000)]) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.mark.native
def test_threads_that_step_one_stream_wait_for_each_other() -> None:
    done = subprocess.run([sys.executable, "-c", _MANY_THREADS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cell", EVERY_CELL)
@pytest.mark.parametrize("rows", [1, 2, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_step_without_gradients_gives_the_same_bits(cell: str, rows: int, dtype: torch.dtype) -> None:
    layer, x = Recurrent(EVERY_CELL[cell], 3, 40, dtype=dtype), torch.randn(rows, 1, 3, dtype=dtype)
    state = None
    for _ in range(3):  # weights and states lie elsewhere each time
        y, final = layer(x, state)
        with torch.no_grad():
            again, same = layer(x, state)
        for got, wanted in zip((again, *same), (y, *final), strict=True):
            assert_engine_bits(got, wanted.detach())
        state = type(final)(*(s.detach().clone() for s in final))
        with torch.no_grad():
            for weight in layer.parameters():
                weight.data = torch.randn_like(weight.data)


@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_drop_in_takes_one_step_as_it_takes_many(kind: type, batch_first: bool) -> None:
    layer, x = kind(3, 5, batch_first=batch_first), torch.randn(1, 1, 3)
    wide = torch.randn(4, 1, 3) if batch_first else torch.randn(1, 4, 3)
    for inputs in (x, wide, torch.randn(1, 3)):
        y, final = layer(inputs)
        again, same = layer(inputs, final)
        with torch.no_grad():
            quick, last = layer(inputs)
            further = layer(inputs, final)
        assert_engine_bits(quick, y.detach())
        assert_engine_bits(further[0], again.detach())
        for got, wanted in zip(*((s if isinstance(s, tuple) else (s,)) for s in (last, final)), strict=True):
            assert_engine_bits(got, wanted.detach())
        for got, wanted in zip(*((s if isinstance(s, tuple) else (s,)) for s in (further[1], same)), strict=True):
            assert_engine_bits(got, wanted.detach())
