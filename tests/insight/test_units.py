"""Units that can be read, the portrait of states, and the text in colours."""

from __future__ import annotations

import math

import pytest
import torch

from elman.insight import trace_run
from elman.insight.figures import draw_attention, draw_lag_curves, plain
from elman.insight.page import Picture, coloured, number
from elman.insight.units import active_states, explained, holding, kind_of, state_portrait
from elman.nn import Recurrent
from tolerances import assert_equal


def test_active_states_are_those_of_the_rows_in_their_order():
    run = trace_run(Recurrent("lstm", 3, 4), torch.randn(3, 5, 3), torch.tensor([5, 0, 2]))
    h = run.states["h"][0]
    assert_equal(active_states(run), torch.cat([h[0], h[2, :2]]))


def test_a_portrait_keeps_distances_in_a_plane_and_does_not_depend_on_the_sign_of_its_axes():
    plane = torch.randn(30, 2, dtype=torch.float64)
    turned = plane @ torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64))[0][:2] + 3.0
    points, shares = state_portrait(turned)
    exact = "donot_use_mm_for_euclid_dist"
    apart, wanted = (torch.cdist(p, p, compute_mode=exact) for p in (points, plane))
    assert_equal(apart, wanted)
    assert_equal(shares.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert float(shares[0]) >= float(shares[1])
    assert_equal(state_portrait(turned.flip(0))[0].flip(0), points)
    with pytest.raises(ValueError, match="all states are the same"):
        state_portrait(torch.ones(5, 3))
    with pytest.raises(ValueError, match="two states"):
        state_portrait(torch.ones(1, 3))


def test_what_a_group_explains_is_the_correlation_ratio():
    states = torch.tensor([[0.0, 1.0], [1.0, 1.0]] * 6) + torch.tensor([[0.0, 0.0]] * 6 + [[1.0, 0.0]] * 6)
    groups = ["a", "b"] * 6
    whole = states[:, 0].var(correction=0)
    between = torch.stack([states[0::2, 0].mean(), states[1::2, 0].mean()]).var(correction=0)
    assert_equal(explained(states, groups), torch.stack([between / whole, torch.tensor(0.0)]))
    # What comes too rarely explains nothing by being alone.
    assert float(explained(torch.randn(4, 1), list("abcd"))) < 1e-6
    with pytest.raises(ValueError, match="one group"):
        explained(states, ["a"])


def test_holding_tells_what_lasts_from_what_does_not():
    layer = Recurrent("rnn", 1, 2, bias=False).double()
    with torch.no_grad():
        layer.weight_hh_l0.copy_(torch.tensor([[0.95, 0.0], [0.0, 0.0]]))
        layer.weight_ih_l0.copy_(torch.tensor([[0.05], [0.05]]))
    held = holding(trace_run(layer, torch.randn(8, 200, 1, dtype=torch.float64)))
    assert float(held[0]) > 0.85 and abs(float(held[1])) < 0.15


def test_kinds_of_pieces():
    given = ["\u00e9", "\u00df", "\u00c9", "3", "\u00b6", "\n"]
    assert [kind_of(piece) for piece in given] == ["vowel", "consonant", "capital", "number", "mark", "space"]
    words = ["a", "don't", "3rd", "\u00c9t\u00e9", "--"]
    assert [kind_of(piece, of_words=True) for piece in words] == ["word", "word", "number", "capital", "mark"]


def test_coloured_text_is_escaped_and_every_piece_is_there():
    html = coloured(["a", "<", "\n", "b"], torch.tensor([0.0, -1.0, -1.0, 7.0]))
    assert html == 'a<b class="n8">&lt;\u21b5\n</b><b class="p8">b</b>'
    assert coloured(["one", "two"], torch.tensor([0.5, 0.5]), " ") == '<b class="p4">one two</b>'
    with pytest.raises(ValueError, match="one value"):
        coloured(["a"], torch.zeros(2))


def test_a_curve_is_drawn_against_its_value_at_lag_1_and_zeros_are_left_out():
    figure = draw_lag_curves({"a": torch.tensor([9.0, 2.0, 1.0, 0.0]), "b": torch.zeros(4)})
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [1, 2] and line.get_ydata().tolist() == [1.0, 0.5]
    with pytest.raises(ValueError, match="no gradient passes"):
        draw_lag_curves({"b": torch.zeros(4)})


def test_labels_of_users_are_never_markup_of_the_figure():
    figure = draw_attention(torch.rand(2, 2), ["$\\frac$", "\u4f60"], ["$x$", "</svg><script>"])
    picture = Picture("one", "t", figure, 'a "quoted" <alt>', "c")
    html = picture.html()
    assert "<script" not in html and html.count("</svg>") == 1 and "$\\frac$" in html
    assert "&quot;quoted&quot; &lt;alt&gt;" in html
    assert picture.png().startswith(b"\x89PNG")
    assert plain("_a").startswith(" ") and len(plain("x" * 50)) <= 18


def test_figures_take_the_colours_of_the_page():
    html = Picture("one", "t", draw_lag_curves({"a": 0.5 ** torch.arange(9.0)}), "alt", "c").html()
    assert "var(--c0)" in html and "currentColor" in html and "#0072B2" not in html.upper()
    head = html[html.index("<svg") : html.index(">", html.index("<svg"))]
    assert "viewBox" in head and "width=" not in head and "height=" not in head


def test_numbers_for_people():
    assert [number(value) for value in (0.0, -0.69314, 1e6, math.nan)] == ["0", "-0.693", "1e+06", "none"]
