"""Random numbers of cells: the generator, and that they are the same however a run is made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from backends import NATIVE
from elman.cells import Cell, Inputs, Noise, Spec, State, Step, Weights
from elman.engine import noise_key, parameter_noise
from elman.engine.native import set_memory_budget
from elman.engine.noise import draw, philox
from elman.nn import Recurrent

SEED = 2**62 + 12345


@dataclass(frozen=True)
class Drawn(Cell):
    """Its output is its noise; the state counts, so that the step depends on the one before."""

    p: float = 0.3
    per: str = "step"

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        noise = {"mask": Noise(hidden, self.p, hit=2.0, miss=-1.0, rest=0.5, per=self.per)}
        return super().spec(inputs, hidden, bias).extend(noise=noise)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        return Step(h=s.h + 1, y=x.mask + 0 * s.h)


def masks(rows: int, steps: int, hidden: int, key: tuple[int, int], backend: str, **options: object) -> Tensor:
    layer = Recurrent(Drawn(**options), 1, hidden, backend=backend)
    return layer(torch.zeros(rows, steps, 1), noise=key)[0]


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        (7, (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
        (10, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ],
)
def test_known_answers_of_the_generator(rounds, words):
    zero = torch.zeros((), dtype=torch.int64)
    assert tuple(int(w) for w in philox((zero,) * 4, zero, zero, rounds)) == words


@pytest.mark.native
@pytest.mark.parametrize("per", ["step", "sequence"])
@pytest.mark.parametrize("hidden", [1, 3, 16, 17, 64, 65, 130])
def test_the_core_draws_what_the_definition_draws(hidden, per):
    noise = Noise(hidden, 0.3, hit=2.0, miss=-1.0, rest=0.5, per=per)
    wanted = draw(noise, 0, noise_key(SEED, 40), 29, 6, torch.zeros(())).expand(6, -1, -1).transpose(0, 1)
    assert torch.equal(masks(29, 6, hidden, (SEED, 40), "native", per=per), wanted)


@pytest.mark.parametrize("backend", ["eager", NATIVE])
def test_hits_are_as_frequent_as_they_should_be(backend):
    for p in (0.05, 0.5, 0.9):
        hits = (masks(64, 50, 100, (SEED, 0), backend, p=p) == 2.0).double()
        for dim in (None, (0, 1), (1, 2), (0, 2)):
            share = hits.mean() if dim is None else hits.mean(dim)
            count = hits.numel() / share.numel()
            assert ((share - p).abs() < 5 * (p * (1 - p) / count) ** 0.5).all()


def test_neighbours_are_not_alike():
    hits = (masks(64, 64, 64, (SEED, 0), "auto", p=0.5) == 2.0).double() - 0.5
    for dim in range(3):
        assert abs(float((hits * hits.roll(1, dim)).mean())) < 4 * 0.25 / 64**1.5


@pytest.mark.parametrize("backend", ["eager", NATIVE])
def test_what_they_depend_on(backend):
    whole = masks(5, 8, 20, (SEED, 3), backend)
    assert torch.equal(whole[:, 2:7], masks(5, 5, 20, (SEED, 5), backend)), "a sequence in pieces"
    assert torch.equal(whole[:2], masks(2, 8, 20, (SEED, 3), backend)), "the rows after it"
    assert not torch.equal(whole, masks(5, 8, 20, (SEED + 1, 3), backend)), "the seed"
    assert not torch.equal(whole, masks(5, 8, 20, (SEED + 2**32, 3), backend)), "the seed's upper half"
    assert not torch.equal(whole[:, 0], whole[:, 1]) and not torch.equal(whole[0], whole[1])
    once = masks(5, 8, 20, (SEED, 3), backend, per="sequence")
    assert torch.equal(once, once[:, :1].expand_as(once))


@pytest.mark.parametrize("backend", ["eager", NATIVE])
def test_direction_and_lengths_do_not_move_them(backend):
    layer = Recurrent(Drawn(), 1, 20, num_layers=2, bidirectional=True, backend=backend)
    x, lengths = torch.zeros(5, 8, 1), torch.tensor([8, 3, 0, 5, 8])
    y, _ = layer(x, lengths=lengths, noise=(SEED, 0))
    alone = masks(5, 8, 20, (SEED, 0), backend)
    inside = torch.arange(8) < lengths[:, None]
    first = Recurrent(Drawn(), 1, 20, bidirectional=True, backend=backend)
    one, _ = first(x, lengths=lengths, noise=(SEED, 0))
    assert torch.equal(one[..., :20], alone.where(inside[..., None], 0.0))
    assert not torch.equal(one[..., 20:], one[..., :20]) and not torch.equal(y, one)


@pytest.mark.native
def test_they_are_drawn_again_alike_when_steps_are_run_again(core):
    torch.manual_seed(0)
    found = []
    for budget in (256, 0):
        set_memory_budget(budget)
        from elman.cells import Zoneout, get

        torch.manual_seed(0)
        layer = Recurrent(Zoneout(get("lstm"), p=0.4), 3, 20)
        x = torch.randn(4, 300, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
        y, _ = layer(x, noise=(SEED, 0))
        y.square().sum().backward()
        found.append((y, x.grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_training_draws_from_the_generator_of_torch_and_evaluation_does_not():
    layer, x = Recurrent(Drawn(), 1, 20), torch.zeros(3, 4, 1)
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        drawn += [layer(x)[0], layer(x)[0]]
    assert (
        torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[1], drawn[3]) and not torch.equal(drawn[0], drawn[1])
    )
    before = torch.random.get_rng_state()
    assert (layer.eval()(x)[0] == 0.5).all()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("p", "value"), [(0.0, -1.0), (1.0, 2.0)])
def test_what_is_certain_is_not_drawn(p, value):
    layer = Recurrent(Drawn(p=p), 1, 5)
    assert (layer(torch.zeros(2, 3, 1))[0] == value).all() and not layer.stack.specs[0].drawn()


def test_a_probability_is_one():
    with pytest.raises(ValueError, match=r"from 0 to 1, got 1\.5"):
        Noise(3, 1.5, 0.0, 1.0, 0.0)


@pytest.mark.native
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
def test_the_core_draws_for_parameters_what_the_definition_draws(dtype):
    for width in (1, 17, 64, 70):
        noise, key = Noise(width, 0.3, hit=0.0, miss=1 / 0.7, rest=1.0), noise_key(SEED)
        found = parameter_noise(key, torch.zeros((), dtype=dtype))
        first, second = found(noise, 9), found(noise, 9)
        whole = replace(noise, per="sequence")
        assert torch.equal(first, draw(whole, 128, key, 9, 1, first)[0]) and first.dtype is dtype
        assert torch.equal(second, draw(whole, 129, key, 9, 1, first)[0])


@pytest.mark.parametrize("pair", [(5.9, 0), (1, -1), (1, 2**32), (2**63, 0), (1,), 5, (True, 0)])
def test_a_pair_that_is_none_is_refused(pair):
    with pytest.raises(ValueError, match="noise"):
        Recurrent(Drawn(), 1, 5)(torch.zeros(1, 2, 1), noise=pair)
