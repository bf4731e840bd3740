from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch
from matplotlib.text import Text

from elman.insight import draw_unrolled

WORDS = ("I", "like", "this", "film")


@pytest.fixture
def drawn(monkeypatch):
    """Every text of a picture, in order."""
    texts: list[Text] = []
    write = Axes.text

    def keep(self, *args, **kwargs):
        texts.append(write(self, *args, **kwargs))
        return texts[-1]

    monkeypatch.setattr(Axes, "text", keep)
    return texts


def counted(texts):
    """How often each text stands in the network itself, the heading left out."""
    top = max(text.get_position()[1] for text in texts)
    return Counter(t.get_text() for t in texts if t.get_position()[1] < top - 0.5)


def test_every_step_has_its_word_state_output_and_the_shared_letters(tmp_path, drawn):
    draw_unrolled(WORDS, tmp_path / "u.png")
    found = counted(drawn)
    assert all(found[word] == 1 for word in WORDS)
    assert all(found[f"${letter}_{{{t}}}$"] == 1 for letter in ("x", "s", "O") for t in range(1, 5))
    assert found["$s_{0}$"] == 1
    assert [found[f"${letter}$"] for letter in "UWV"] == [4, 4, 4]


def test_many_to_one_has_the_last_output_alone(tmp_path, drawn):
    draw_unrolled(WORDS, tmp_path / "u.png", outputs="last")
    found = counted(drawn)
    assert [found[f"${letter}$"] for letter in "UWV"] == [4, 4, 1]
    assert [found[f"$O_{{{t}}}$"] for t in range(1, 5)] == [0, 0, 0, 1]


@pytest.mark.parametrize(("outputs", "reads"), [("all", 6), ("last", 2)])
def test_both_directions_have_weights_of_their_own_and_share_v(tmp_path, drawn, outputs, reads):
    draw_unrolled(WORDS[:3], tmp_path / "u.png", bidirectional=True, outputs=outputs)
    found = counted(drawn)
    assert [found[f"${letter}$"] for letter in ("U", "W", "U'", "W'", "V")] == [3, 3, 3, 3, reads]
    assert found[r"$\overrightarrow{s}_{0}$"] == found[r"$\overleftarrow{s}_{4}$"] == 1


def test_a_letter_has_one_colour(tmp_path, drawn):
    draw_unrolled(WORDS, tmp_path / "u.png", bidirectional=True)
    letters = {f"${letter}$" for letter in ("U", "W", "V", "U'", "W'")}
    colours = {(t.get_text(), t.get_color()) for t in drawn if t.get_text() in letters}
    assert len(colours) == len(letters) == len({colour for _, colour in colours})


@pytest.mark.parametrize("arrangement", [(False, "all"), (True, "all"), (True, "last")], ids=str)
@pytest.mark.parametrize(
    "words", [("yes",), WORDS[:2], ("incomprehensibility", "a", "$x$ & <y>", *WORDS)], ids=len
)
def test_nothing_overlaps_and_all_stands_inside(tmp_path, drawn, words, arrangement):
    draw_unrolled(words, tmp_path / "u.png", bidirectional=arrangement[0], outputs=arrangement[1])
    picture, patches = drawn[0].get_figure().bbox, drawn[0].axes.patches
    arrows = np.concatenate([points_on(patch) for patch in patches if isinstance(patch, FancyArrowPatch)])
    shapes = [p.get_window_extent() for p in patches if not isinstance(p, FancyArrowPatch)]
    boxes = {text: text.get_window_extent() for text in drawn}
    for text, box in boxes.items():
        others = [other for other in boxes if other is not text and box.overlaps(boxes[other])]
        assert not others, (text, others)
        assert box.count_contains(arrows) == 0, text
        room = [shape for shape in shapes if box.overlaps(shape)] or [picture]
        assert len(room) == 1
        assert contains(room[0], box), text


def points_on(arrow):
    """Points close together all along an arrow, in pixels."""
    path = arrow.get_path().transformed(arrow.get_transform())
    corners = path.vertices[path.codes != path.CLOSEPOLY]
    return np.concatenate([np.linspace(a, b, 100) for a, b in pairwise(corners)])


def contains(outer, inner):
    return outer.x0 <= inner.x0 <= inner.x1 <= outer.x1 and outer.y0 <= inner.y0 <= inner.y1 <= outer.y1


def test_given_states_are_dashed(tmp_path, drawn):
    draw_unrolled(WORDS, tmp_path / "u.svg", bidirectional=True)
    circles = [patch for patch in drawn[0].axes.patches if isinstance(patch, Circle)]
    dashed = [patch.center[0] for patch in circles if patch.get_linestyle() != "-"]
    places = [patch.center[0] for patch in circles]
    assert sorted(dashed) == [min(places), max(places)]


def test_words_are_not_read_as_mathematics(tmp_path, drawn):
    draw_unrolled(["$x$"], tmp_path / "u.png")
    assert [t.get_parse_math() for t in drawn if t.get_text() == "$x$"] == [False]


def test_steps_are_evenly_spaced(tmp_path, drawn):
    draw_unrolled(WORDS, tmp_path / "u.png")
    places = [t.get_position()[0] for t in drawn if t.get_text().startswith("$s_")]
    assert np.ptp(np.diff(places)) < 1e-9


def test_svg_by_its_ending_with_folders_made(tmp_path):
    path = draw_unrolled(WORDS, tmp_path / "new" / "u.svg")
    assert path.read_text("utf-8").count("<svg ") == 1


def test_what_cannot_be_drawn_is_said(tmp_path):
    with pytest.raises(ValueError, match="1 to 30 words, got 0"):
        draw_unrolled([], tmp_path / "u.png")
    with pytest.raises(ValueError, match="1 to 30 words, got 31"):
        draw_unrolled(["a"] * 31, tmp_path / "u.png")
    with pytest.raises(ValueError, match="'all' or 'last', got 'first'"):
        draw_unrolled(WORDS, tmp_path / "u.png", outputs="first")
    with pytest.raises(ValueError, match=r"ends in .png or .svg"):
        draw_unrolled(WORDS, tmp_path / "u")
