import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.image import imread

from elman.insight import plot_gradient
from elman.insight.pictures import COLOURS

FADING = 0.5 ** torch.arange(12.0)


@pytest.fixture
def written(monkeypatch):
    """Every text that is written into axes, with its height."""
    texts = []
    write = Axes.text
    monkeypatch.setattr(
        Axes, "text", lambda self, x, y, s, **kw: [texts.append((s, y)), write(self, x, y, s, **kw)][1]
    )
    return texts


def colours_of(path):
    """How many pixels have exactly each of the colours."""
    pixels = (imread(path)[..., :3] * 255).round().astype(int)
    wanted = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS]
    return [int((pixels == np.array(rgb)).all(-1).sum()) for rgb in wanted]


def test_picture_is_wide_light_and_has_a_colour_for_each_name(tmp_path):
    path = plot_gradient({"RNN": FADING, "LSTM": FADING**0.1}, tmp_path / "new" / "folder" / "g.png")
    pixels = imread(path)
    assert pixels.shape[:2] == (900, 1600)
    assert (pixels[:3, :, :3] == 1).all()
    found = colours_of(path)
    assert min(found[:2]) > 1000
    assert found[2:] == [0, 0, 0, 0]


def test_layers_are_named_and_names_do_not_overlap(tmp_path, written):
    plot_gradient({"a": torch.stack([FADING, FADING]), "b": FADING}, tmp_path / "g.png")
    assert {s for s, _ in written} == {"a, layer 1", "a, layer 2", "b"}
    heights = sorted(y for _, y in written)
    assert min(b - a for a, b in pairwise(heights)) > 0.05


def test_what_a_logarithm_cannot_show_is_left_out(tmp_path):
    curve = FADING.clone()
    curve[3], curve[7:] = 0.0, torch.nan
    plot_gradient({"RNN": curve[None]}, tmp_path / "g.png")
    assert colours_of(tmp_path / "g.png")[0] > 1000


def test_svg_by_its_ending(tmp_path):
    path = plot_gradient({"RNN": FADING}, tmp_path / "g.SVG")
    assert path.read_text("utf-8").count("<svg ") == 1


def test_unusable_curves_and_paths_are_named(tmp_path):
    with pytest.raises(ValueError, match="at least one curve"):
        plot_gradient({}, tmp_path / "g.png")
    with pytest.raises(ValueError, match="'RNN' has no finite number above 0"):
        plot_gradient({"RNN": torch.zeros(3)}, tmp_path / "g.png")
    with pytest.raises(ValueError, match=r"'RNN' must have shape .* got \(1, 1, 3\)"):
        plot_gradient({"RNN": torch.ones(1, 1, 3)}, tmp_path / "g.png")
    with pytest.raises(ValueError, match=r"ends in .png or .svg, got 'g.jpg'"):
        plot_gradient({"RNN": FADING}, tmp_path / "g.jpg")
    assert list(tmp_path.iterdir()) == []


def test_drawing_leaves_matplotlib_as_it_was_and_needs_no_pyplot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.delattr(matplotlib, "pyplot", raising=False)
    before = dict(dict.items(matplotlib.rcParams))
    plot_gradient({"RNN": FADING}, tmp_path / "g.png")
    assert dict(dict.items(matplotlib.rcParams)) == before
