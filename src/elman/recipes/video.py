"""Video: what does each frame of a clip show? Many frames in, a class out at each: many to many.

The data: handwritten digits that move, half hidden and in noise; see `elman.data.moving_digits`. The class of a
frame is the digit and its motion, as "7 left". A convolutional network reads each frame, a recurrence goes over
time in both directions, since a clip is judged when it is whole (else: `model.bidirectional=false`). The same
convolutions without the recurrence, trained alike, stand beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elman.data import Batch, Labels, Split, Vocabulary, split
from elman.data.batches import IGNORED
from elman.data.clips import Clip, read_labelled_clips, write_clip
from elman.data.moving_digits import RATE, SIDE, moving_digits, read_handwriting
from elman.errors import UserError
from elman.recipes.contract import Request
from elman.recipes.job import Asked, Job, JobConfig, Lesson, batches
from elman.recipes.measures import Measures, measure, scikit_learn
from elman.recipes.settings import often_enough
from elman.recipes.video_model import (
    DataSettings,
    ModelSettings,
    Settings,
    VideoModel,
    build_frame_by_frame,
    build_network,
    frame_scores,
    padded,
)
from elman.training import Silent, TrainSettings

# ---- choices -------------------------------------------------------------------------------------------------
SETTINGS = Settings(
    data=DataSettings(side=SIDE, clips=2000, test=0.2, validation=0.1),
    model=ModelSettings(cell="gru", hidden_size=96, bidirectional=True, channels=16, features=96, dropout=0.2),
    train=TrainSettings(epochs=10, batch_size=16, learning_rate=3e-3, patience=None, watch="accuracy"),
)
LEAST_STEPS = 300  # where there are few clips
EXAMPLE = "clip.mkv"  # in the folder of a model of the default data
# --------------------------------------------------------------------------------------------------------------


class VideoConfig(JobConfig):
    """What `config.json` of a model of clips holds, and nothing else."""

    settings: Settings
    labels: list[str]


@dataclass(frozen=True)
class Clips:
    """Clips, the class number of each frame, and the parts.

    Attributes:
        clips: the films.
        codes: for each clip the class numbers of its frames, `IGNORED` where there is no label.
        labels: the classes.
        parts: which clips train, validate and test.
        source: the data, as the user named it.
        columns: the columns of clips and of labels, where the user named them.
    """

    clips: Sequence[Clip]
    codes: Sequence[Any]
    labels: Labels
    parts: Split
    source: str
    columns: tuple[str | None, str | None]

    def part(self, rows: Sequence[int]) -> tuple[list[Clip], list[Any]]:
        """The clips of a part and the class numbers of their frames."""
        return [self.clips[row] for row in rows], [self.codes[row] for row in rows]

    def shown(self) -> list[tuple[str, str]]:
        """How many frames and classes there are, and clips in each part."""
        frames = sum(len(codes) for codes in self.codes)
        sizes = ", ".join(f"{name} {len(rows)}" for name, rows in self.parts._asdict().items())
        return [("frames", str(frames)), ("classes", str(len(self.labels.names))), ("parts (clips)", sizes)]

    def fingerprint(self) -> str:
        """A hash of every frame, label and part, in order."""
        hashed = hashlib.sha256(repr((self.labels.names, tuple(self.parts))).encode())
        for clip, codes in zip(self.clips, self.codes, strict=True):
            hashed.update(repr((clip.frames.shape, list(codes))).encode())
            hashed.update(clip.frames.tobytes())
        return hashed.hexdigest()


@dataclass(frozen=True)
class VideoRecipe(Job[Clips, VideoModel]):
    """A clip in, a class for each frame out."""

    settings: Settings
    config = VideoConfig
    arrangement = "many to many"

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [["predict", folder, f"{folder}/{EXAMPLE}"], ["evaluate", folder]]

    def require(self, request: Request) -> None:
        """scikit-learn counts what the classes are worth."""
        scikit_learn("metrics")

    def read(self, asked: Asked) -> Clips:
        """The clips in their parts; no digit's picture, and no clip, is in two of them."""
        chosen: DataSettings = asked.settings.data
        shares = (1 - chosen.validation - chosen.test, chosen.validation, chosen.test)
        if shares[0] <= 0:
            raise UserError("the training part gets no clip", where="data.test and data.validation", found=shares)
        if asked.data is None:
            return _moving_digits(chosen, shares)
        found = read_labelled_clips(asked.data, chosen.side, chosen.colours, asked.text, asked.label)
        same: dict[bytes, int] = {}  # equal films under two names are one
        groups = [same.setdefault(clip.frames.tobytes(), row) for row, clip in enumerate(found.clips)]
        parts = split(len(found.clips), seed=chosen.seed, parts=shares, groups=groups)
        labels = _labels_of(found.labels, found.source)
        codes = [_codes(labels, one, name) for one, name in zip(found.labels, found.names, strict=True)]
        return Clips(found.clips, codes, labels, parts, found.source, (asked.text, asked.label))

    def build(self, prepared: Clips, settings: Settings, say: Callable[[str], None]) -> VideoModel:
        """A network for frames of these channels and these classes."""
        train = often_enough(settings.train, self.settings.train, len(prepared.parts.train), LEAST_STEPS, say)
        settings = settings.model_copy(update={"train": train})
        if min(len(prepared.codes[row]) for row in prepared.parts.train) * train.batch_size < 2:
            raise UserError("every batch must hold two frames", where="train.batch_size", found=train.batch_size)
        names = prepared.labels.names
        return VideoModel(build_network(settings.model, _channels(settings), len(names)), names, settings)

    def rebuild(self, config: VideoConfig, vocabulary: Vocabulary | None) -> VideoModel:
        """The model that `config` describes."""
        network = build_network(config.settings.model, _channels(config.settings), len(config.labels))
        return VideoModel(network, config.labels, config.settings)

    def lesson(self, model: VideoModel, prepared: Clips) -> Lesson:
        """-ln p of the class of every frame that has one."""
        clips, codes = prepared.part(prepared.parts.train)
        own, own_codes = prepared.part(prepared.parts.validation)

        def validate(network: nn.Module) -> dict[str, float]:
            found = _measured(prepared.labels, network, own, own_codes)
            return {name: found[name] for name in ("accuracy", "macro_f1")}

        return Lesson(
            loss=_loss(clips, codes),
            batches=batches([np.arange(len(one)) for one in codes], None, model.settings.train),
            validate=validate,
            rows=len(clips),
        )

    def measure(self, model: VideoModel, prepared: Clips) -> dict[str, Any]:
        """Accuracy, macro-F1 and confusion over the labelled frames of the test part."""
        return _measured(prepared.labels, model.network, *prepared.part(prepared.parts.test))

    def measure_data(self, model: VideoModel, asked: Asked) -> dict[str, Any]:
        """The same over all of a user's clips."""
        chosen: DataSettings = asked.settings.data
        found = read_labelled_clips(asked.data, chosen.side, chosen.colours, asked.text, asked.label)
        labels = Labels("classes", tuple(model.labels))
        codes = [_codes(labels, one, name) for one, name in zip(found.labels, found.names, strict=True)]
        return _measured(labels, model.network, found.clips, codes)

    def baselines(self, model: VideoModel, prepared: Clips, request: Request) -> dict[str, dict[str, Any]]:
        """The most frequent class, and the same convolutions without time, trained alike."""
        settings, labels, test = model.settings, prepared.labels, prepared.part(prepared.parts.test)
        train = _labelled(prepared.part(prepared.parts.train)[1])
        torch.manual_seed(settings.train.seed)
        network = build_frame_by_frame(settings.model, _channels(settings), len(labels.names))
        quietly = replace(request, progress=Silent())
        self.teach(VideoModel(network, labels.names, settings), prepared, quietly, request.out / "frame_by_frame")
        truth = _labelled(test[1])
        return {
            "majority": measure(labels, truth, [int(np.bincount(train).argmax())] * len(truth)),
            "frame_by_frame": _measured(labels, network, *test),
        }

    def finish(self, model: VideoModel, prepared: Clips) -> None:
        """A clip of the test part to try the model on, where the data is the recipe's own."""
        if model.config["data"]["own"]:
            write_clip(model.folder / EXAMPLE, prepared.clips[prepared.parts.test[0]].frames, RATE)


def _moving_digits(chosen: DataSettings, shares: tuple[float, float, float]) -> Clips:
    if chosen.side != SIDE or chosen.colours:
        what = f"the recipe's own clips are grey, of {SIDE} x {SIDE}"
        raise UserError(what, where="data.side and data.colours", fix="leave them, or give clips with --data")
    hand = read_handwriting(chosen.seed, shares)
    made, sizes = [], []
    for part, (rows, share) in enumerate(zip(hand.parts, shares, strict=True)):
        clips = moving_digits(hand, rows, max(1, round(share * chosen.clips)), (chosen.seed, part))
        made += clips
        sizes.append(len(clips))
    ends = np.cumsum([0, *sizes])
    parts = Split(*(list(range(start, end)) for start, end in pairwise(ends)))
    said = [labels for _, labels in made]
    source = "handwritten digits that move"
    labels = _labels_of(said, source)
    codes = [_codes(labels, one, source) for one in said]
    return Clips([clip for clip, _ in made], codes, labels, parts, source, (None, None))


def _labels_of(said: Sequence[Sequence[str | None]], source: str) -> Labels:
    names = sorted({name for one in said for name in one if name is not None})
    if len(names) < 2:
        raise UserError("there must be two labels or more to tell apart", where=source, found=", ".join(names))
    return Labels("classes", tuple(names))


def _codes(labels: Labels, said: Sequence[str | None], where: str) -> Any:
    known = {name: code for code, name in enumerate(labels.names)}
    for frame, name in enumerate(said):
        if name is not None and name not in known:
            what = "a label must be one of those trained on"
            shown = ", ".join(labels.names[:10])
            raise UserError(what, where=f"{where}, frame {frame}", found=name, fix=f"they begin: {shown}")
    return np.array([IGNORED if name is None else known[name] for name in said])


def _channels(settings: Settings) -> int:
    return 3 if settings.data.colours else 1


def _labelled(codes: Sequence[Any]) -> Any:
    every = np.concatenate(codes)
    return every[every != IGNORED]


def _loss(clips: Sequence[Clip], codes: Sequence[Any]) -> Callable[[nn.Module, Batch], Tensor]:
    def loss(network: nn.Module, batch: Batch) -> Tensor:
        rows, device = batch.rows.tolist(), batch.inputs.device
        frames, lengths = padded([clips[row] for row in rows])
        wanted = torch.full(frames.shape[:2], IGNORED)
        for place, row in enumerate(rows):
            wanted[place, : len(codes[row])] = torch.from_numpy(codes[row])
        scores, _ = network(frames.to(device), lengths=lengths.to(device))
        # The mean over labelled frames; 0 where a batch has none.
        total = cross_entropy(scores.flatten(0, 1), wanted.flatten().to(device), reduction="sum")
        return total / max(1, int((wanted != IGNORED).sum()))

    return loss


def _measured(labels: Labels, network: nn.Module, clips: Sequence[Clip], codes: Sequence[Any]) -> Measures:
    found = np.concatenate([rows.argmax(-1).numpy() for rows in frame_scores(network, clips)])
    every = np.concatenate(codes)
    return measure(labels, every[every != IGNORED].tolist(), found[every != IGNORED].tolist())


RECIPE = VideoRecipe(
    name="video",
    summary="what does each frame of a clip show? moving digits, or clips of your own",
    settings=SETTINGS,
    margins={"accuracy": 0.1},
)
