"""Layers of different cells and sizes: what the layers give one by one, and what a `Recurrent` can do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import elman
from backends import assert_engine_bits
from elman.cells import Zoneout
from elman.models import CarriedState, EncoderDecoder, LanguageModel, ManyToMany, ManyToOne, OneToMany
from elman.nn import Layers, Recurrent
from every_cell import EVERY_CELL
from tolerances import assert_equal


def mixed(**options) -> Layers:
    return Layers(
        Recurrent("gru", 3, 8, 2, initial_state="trainable"),
        Recurrent("lstm", 8, 5),
        Recurrent("lru", 5, 6, **options),
    )


def test_every_layer_reads_what_the_one_before_gives() -> None:
    layers = Layers(Recurrent("gru", 3, 8, bidirectional=True), Recurrent("lstm", 16, 5, outputs="last"))
    x, lengths, resets = torch.randn(2, 7, 3), torch.tensor([7, 4]), torch.rand(2, 7) < 0.3
    y, (first, second) = layers(x, lengths=lengths, resets=resets)
    between, wanted = layers.layers[0](x, lengths=lengths, resets=resets)
    last, final = layers.layers[1](between, lengths=lengths, resets=resets)
    for got, right in zip((y, *first, *second), (last, *wanted, *final), strict=True):
        assert torch.equal(got, right)
    assert (layers.input_size, layers.output_size, layers.outputs) == (3, 5, "last")
    assert layers.bidirectional
    assert layers.directions == 1


def test_a_state_goes_on_and_gradients_reach_every_layer() -> None:
    layers, x = mixed(), torch.randn(2, 6, 3)
    y, final = layers(x)
    head, state = layers(x[:, :4])
    tail, after = layers(x[:, 4:], state)
    assert_equal(torch.cat([head, tail], 1), y)
    for got, wanted in zip(after, final, strict=True):
        for one, right in zip(got, wanted, strict=True):
            assert_equal(one, right)
    y.sum().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for name, p in layers.named_parameters() if "ih" in name
    )
    for wrong in (state[:2], state[0].h):
        with pytest.raises(ValueError, match="one entry a layer, 3"):
            layers(x, wrong)


def test_dropout_is_between_layers_and_only_in_training() -> None:
    layers = Layers(Recurrent("gru", 3, 64), Recurrent("gru", 64, 5), dropout=0.5)
    x = torch.randn(2, 6, 3)
    seen = []
    layers.layers[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    layers.eval()(x)
    layers.train()(x)
    share = (seen[1] == 0).float().mean()
    assert (seen[0] != 0).all()
    assert 0.35 < share < 0.65
    assert not torch.equal(layers(x)[0], layers(x)[0])
    assert (layers(x)[1][0].h == layers(x)[1][0].h).all()


@pytest.mark.parametrize("pieces", [(6,), (1, 1, 1, 3), (0, 2, 1, 1, 1, 1)])
def test_a_stream_of_layers_gives_the_bits_of_one_call(pieces: tuple[int, ...], tmp_path) -> None:
    layers, x = mixed(), torch.randn(3, 6, 3)
    y, final = layers(x)
    stream, found, t = layers.stream(rows=3), [], 0
    for length in pieces:
        found.append(stream.step(x[:, t])[:, None] if length == 1 else stream.push(x[:, t : t + length]))
        t += length
    assert_engine_bits(torch.cat(found, 1), y)
    for got, wanted in zip(stream.state, final, strict=True):
        for one, right in zip(got, wanted, strict=True):
            assert_engine_bits(one, right)
    stream.save(tmp_path / "live")
    twin = layers.stream()
    twin.load(tmp_path / "live")
    stream.select(torch.tensor([2, 0, 1]))
    assert_engine_bits(stream.step(x[[2, 0, 1], 0]), twin.step(x[:, 0])[[2, 0, 1]])
    stream.reset(torch.tensor([0]))
    assert_engine_bits(stream.step(x[:, 0])[0], y[0, 0])


def test_a_stream_falls_back_where_one_layer_does_not_run_natively() -> None:
    layers, x = Layers(Recurrent("gru", 3, 4), Recurrent("gru", 4, 5, backend="eager")), torch.randn(2, 4, 3)
    stream = layers.stream(rows=2)
    assert_equal(torch.stack([stream.step(x[:, t]) for t in range(4)], 1), layers(x)[0].detach())


def test_what_does_not_fit_together_is_refused() -> None:
    gru = Recurrent("gru", 3, 8)
    for layers, said in (
        ((), "at least one"),
        ((gru, Recurrent("gru", 9, 8)), "layer 0 gives 8 numbers, layer 1 reads 9"),
        ((Recurrent("gru", 3, 8, bidirectional=True), Recurrent("gru", 8, 8)), "gives 16 numbers"),
        ((Recurrent("gru", 3, 8, outputs="last"), Recurrent("gru", 8, 8)), "layer 0 must give all outputs"),
        ((nn.GRU(3, 8),), "layer 0 must be a Recurrent"),
    ):
        with pytest.raises(ValueError, match=said):
            Layers(*layers)
    with pytest.raises(ValueError, match="dropout must be"):
        Layers(gru, dropout=1.5)
    with pytest.raises(ValueError, match="both directions"):
        Layers(gru, Recurrent("gru", 8, 5, bidirectional=True)).stream()
    with pytest.raises(ValueError, match="takes a Recurrent"):
        OneToMany(mixed(), 9, context_size=4, embedding_size=3)
    with pytest.raises(ValueError, match="each is a Recurrent"):
        EncoderDecoder(mixed(), mixed(), 9)


def test_models_take_layers(tmp_path) -> None:
    x, tokens = torch.randn(2, 7, 3), torch.randint(9, (2, 7))
    both = Layers(Recurrent("gru", 3, 8, bidirectional=True), Recurrent("rnn", 16, 5, bidirectional=True))
    one = ManyToOne(both, 4, pooling="mean+last")
    assert one(x, torch.tensor([7, 3])).shape == (2, 4)
    language = LanguageModel(mixed(), 9)
    assert language(tokens)[0].shape == (2, 7, 9)
    carried = CarriedState(ManyToMany(mixed(), 4), rows=2)
    whole = carried.model(x)[0]
    assert_equal(torch.cat([carried(x[:, :3]), carried(x[:, 3:])], 1), whole)
    elman.draw(one, tmp_path / "one.svg")
    assert len(elman.explain(language, x).splitlines()) == 4
    with pytest.raises(ValueError, match="name one by layer="):
        elman.insight.gradient_by_distance(one, x, None, lambda scores: scores.sum(1))


def test_noise_and_inner_values_of_each_layer() -> None:
    layers = Layers(
        Recurrent(Zoneout(EVERY_CELL["gru"], p=0.5), 3, 5), Recurrent(Zoneout(EVERY_CELL["lstm"], p=0.5), 5, 7)
    )
    x = torch.randn(2, 6, 3)
    y, _, inner = layers(x, noise=(11, 2), return_all=True)
    first, _, of_first = layers.parts[0](x, noise=(11, 2), return_all=True)
    second, _, of_second = layers.parts[1](first, noise=(12, 2), return_all=True)
    assert torch.equal(y, second) and [list(found) for found in inner] == [list(of_first), list(of_second)]
    assert torch.equal(inner[1]["c_l0"], of_second["c_l0"])
