"""Streams: the same numbers as one call, however the sequence comes, and forks that leave each other alone."""

from __future__ import annotations

import pytest
import torch

from backends import assert_engine_bits
from elman.nn import GRU, LSTM, RNN, Recurrent, Stream
from every_cell import EVERY_CELL
from tolerances import assert_equal


@pytest.mark.parametrize("cell", EVERY_CELL)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_stream_gives_the_bits_of_one_call(cell: str, layers: int) -> None:
    layer, x = Recurrent(EVERY_CELL[cell], 3, 5, layers), torch.randn(4, 9, 3)
    y, final = layer(x)
    stream = Stream(layer, rows=4)
    pieces = [stream.push(x[:, :2]), *(stream.step(x[:, t])[:, None] for t in range(2, 6)), stream.push(x[:, 6:])]
    assert_engine_bits(torch.cat(pieces, 1), y)
    for got, wanted in zip(stream.state, final, strict=True):
        assert_engine_bits(got, wanted)


@pytest.mark.parametrize("rows", [1, 3, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_single_steps_give_the_bits_of_one_call(rows: int, dtype: torch.dtype) -> None:
    torch.set_num_threads(2)
    try:
        layer, x = Recurrent("lstm", 65, 130, dtype=dtype), torch.randn(rows, 7, 65, dtype=dtype)
        y, final = layer(x)
        stream, out = Stream(layer, rows=rows), torch.empty(rows, 130, dtype=dtype)
        for t in range(7):
            assert stream.step(x[:, t].contiguous(), out) is out
            assert_engine_bits(out, y[:, t])
        assert_engine_bits(stream.state.c, final.c)
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
    strided = torch.randn(2, 6)[:, ::2]
    twin = stream.fork()
    assert torch.equal(stream.step(strided), twin.step(strided.contiguous()))


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
