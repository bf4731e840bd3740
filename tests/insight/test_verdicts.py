"""Verdicts on networks whose truth is known, and what is offered for them."""

import pytest
import torch

from elman import recipes
from elman.insight import trace_run, verdict
from elman.nn import Recurrent
from elman.recipes.settings import changed, described, from_assignments
from insight.verdict_cases import HEALTHY, SICK, gain, judged, random_results, traced


@pytest.mark.parametrize("case", [*SICK, *HEALTHY], ids=lambda case: case.name)
def test_built_networks_are_told_apart(case):
    found = judged(case)
    assert case.kind in found.kinds
    if case.kind == "healthy":
        assert found.kinds == ("healthy",)
        assert not found.remedies
        assert "healthy, " in found.sentence


def test_random_networks_are_judged_as_their_jacobians_say():
    found = random_results(100)
    right = sum(true in kinds for true, kinds in found)
    alarms = [kinds != ("healthy",) for true, kinds in found if true == "healthy"]
    assert {true for true, _ in found} == {"healthy", "vanishing", "exploding"}
    assert right >= 90
    assert sum(alarms) <= 0.05 * len(alarms)


def test_the_first_remedy_helps_in_nine_of_twelve():
    assert sum(gain(case)[1] >= 2 for case in SICK) >= 9


def test_the_sentence_holds_the_numbers_of_a_known_decay():
    layer = Recurrent("indrnn", 1, 1, bias=False).double()
    with torch.no_grad():
        layer.weight_u_l0.fill_(0.82)
        layer.weight_ih_l0.fill_(1.0)
    x = torch.rand(2, 180, 1, dtype=torch.float64)
    found = verdict(trace_run(layer, x, loss=lambda returned: returned[0][:, -1].sum()))
    assert found.sentence == (
        "layer 0: the gradient falls by 0.82 a step: half is gone after 3.5 steps, 1 % is left after 23; your "
        "sequences have 180 steps"
    )
    assert str(found).splitlines()[1].startswith("--set model.cell=rglru  (")


@pytest.fixture(scope="module")
def sick_runs():
    return [traced(case) for case in SICK[:-2]]


@pytest.mark.parametrize("name", recipes.registered())
def test_every_setting_offered_is_one_that_the_recipe_takes(name, sick_runs):
    defaults = recipes.get(name).settings
    settings = {key: value for key, value, _ in described(defaults)}
    for run in sick_runs:
        for known in (settings, None):
            found = verdict(run, settings=known, norms=[1e4] * 20)
            assert found.remedies
            for remedy in found.remedies:
                changed(defaults, from_assignments([remedy.setting]))  # which refuses what does not exist


def test_only_what_the_settings_hold_is_offered():
    run = trace_run(Recurrent("rnn", 3, 8), torch.randn(4, 40, 3), loss=lambda r: r[0][:, -1].sum())
    assert verdict(run, settings={"train.clip": 1.0}).remedies == ()
    offered = verdict(run, settings={"model.cell": "rnn", "model.pooling": "last"}).remedies
    wanted = ["model.cell=rglru", "model.cell=lstm", "model.pooling=mean+max"]
    assert [remedy.setting for remedy in offered] == wanted


def test_clipping_is_judged_by_the_share_of_steps():
    run = trace_run(Recurrent("rglru", 3, 8), torch.randn(4, 10, 3), loss=lambda r: r[0][:, -1].sum())
    settings, norms = {"train.clip": 1.0}, [0.5] * 4 + [2.0] * 5 + [30.0]
    found = verdict(run, settings=settings, norms=norms)
    assert found.kinds == ("clipped too often",)
    assert found.findings[0].value == 0.6
    assert found.remedies[0].setting == "train.clip=2.1"
    assert verdict(run, settings=settings, norms=norms[:8]).kinds == ("healthy",)


def test_what_cannot_be_judged_is_said():
    layer = Recurrent("rnn", 3, 4)
    with pytest.raises(ValueError, match="3 steps or more, the longest has 1"):
        verdict(trace_run(layer, torch.randn(2, 1, 3), loss=lambda r: r[0].sum()))
    with pytest.raises(ValueError, match="trace the run with a loss"):
        verdict(trace_run(layer, torch.randn(2, 5, 3)))
