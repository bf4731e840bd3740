"""What is looked at, and how it is told."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from elman.insight import gradient_norms, trace_run
from elman.nn import Recurrent
from elman.recipes.inspection import some_rows
from elman.recipes.inspection_report import _judged, _unit
from tolerances import assert_equal


def test_each_piece_of_each_text_has_the_colour_of_its_own_step():
    layer = SimpleNamespace(text=[["a", "b"], [], ["c"]])
    html = _unit(layer, torch.tensor([[9.0, 0.0], [9.0, 0.5], [9.0, -0.25]]), 1, "<why>", "")
    assert '<p>a<b class="p8">b</b>\n\n<b class="n4">c</b></p>' in html
    assert "unit 1: &lt;why&gt;; from -0.25 to 0.50" in html


def test_a_layer_that_no_loss_reaches_has_not_lost_its_gradient_through_time():
    layer, head = Recurrent("gru", 3, 4), torch.nn.Linear(4, 1)
    found = SimpleNamespace(settings={"model.cell": "gru"}, norms=[])
    for weight, kinds in ((0.0, ("no gradient",)), (1.0, ("vanishing",))):
        torch.nn.init.constant_(head.weight, weight)
        run = trace_run(layer, torch.randn(2, 90, 3), loss=lambda returned: head(returned[0][:, -1]).sum())
        assert _judged(found, "recurrent", run).kinds == kinds


def test_some_rows_of_a_run_are_its_own_and_hold_the_longest():
    layer = Recurrent("lstm", 3, 4, num_layers=2, bidirectional=True)
    lengths = torch.tensor([1, 1, 6, 1, 1, 1, 2])
    run = trace_run(layer, torch.randn(7, 6, 3), lengths, loss=lambda returned: returned[0].sum())
    some = some_rows(run, 3)
    assert some.lengths.tolist() == [1, 1, 6]
    assert_equal(gradient_norms(some)[:, 2], gradient_norms(run)[:, 2])
    assert_equal(some.inputs[1][2], run.inputs[1][2])
    assert some_rows(run, 7) is run
