"""Sounds as numbers: read from files, resampled, trimmed to what is heard, and cut into the levels of mu-law."""

from __future__ import annotations

import importlib
import math
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from elman.data.table import Table
from elman.errors import UserError

Wave: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Levels: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]

ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aiff", ".aif", ".webm")
MOST_BYTES = 64 * 2**20
MOST_RATE = 384_000
MOST_SAMPLES = 100_000_000  # of all sounds together, after resampling
LEVELS = 256
SILENCE = LEVELS // 2
_QUIET = 0.02  # of the loudest 10 ms: below it nothing is said
_LAYOUT = "lay the sounds out as FOLDER/word/sound.wav"


def read_sound(path: str | Path, rate: int, seconds: float = 10.0) -> Wave:
    """A sound as numbers from -1 to 1, `rate` of them a second; several channels are averaged.

    PCM WAV files are read by Python's own library; PyAV, where it is installed, decodes the rest.

    Args:
        path: the file.
        rate: samples a second that are wanted.
        seconds: the longest sound that is read.

    Raises:
        UserError: the file is missing, no sound, damaged, empty, too long, or larger than 64 MiB.

    Example:
        >>> read_sound("three.wav", 8000).dtype  # doctest: +SKIP
        dtype('float32')
    """
    path = Path(path).expanduser()
    try:
        if not path.is_file():
            raise UserError("no such sound" if not path.exists() else "this is no file", where=path)
        if (size := path.stat().st_size) > MOST_BYTES:
            raise UserError(f"a sound has at most {MOST_BYTES} bytes", where=path, found=size)
        samples, own = _read(path, seconds)
    except OSError as error:
        raise UserError("the sound cannot be read", where=path, found=error.strerror or error) from error
    if not samples.size or not np.isfinite(samples).all():
        found = "no samples" if not samples.size else "numbers that are not finite"
        raise UserError("a sound must hold samples", where=path, found=found)
    return resampled(samples, own, rate)


def read_sounds(paths: Sequence[Path], rate: int, seconds: float = 10.0) -> list[Wave]:
    """Several sounds, see `read_sound`.

    Raises:
        UserError: all together are longer than 100 million samples, or what `read_sound` refuses.
    """
    sounds, room = [], MOST_SAMPLES
    for path in paths:
        sounds.append(read_sound(path, rate, seconds))
        room -= len(sounds[-1])
        if room < 0:
            what = f"all sounds together have at most {MOST_SAMPLES:,} samples, {rate:,} a second"
            raise UserError(what, where=path, found="more", fix="give fewer of them")
    return sounds


def read_sound_folder(folder: Path, rate: int, seconds: float = 10.0) -> Table:
    """A table with the columns sound (see `read_sound`) and text, the name of its sub-folder, in order of names.

    Hidden files are left out, and so are files with other endings than a sound's.

    Raises:
        UserError: no sound in any sub-folder, a link that leads out of the folder, or what `read_sound` refuses.
    """
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    paths = [path for word in inner for path in sorted(word.iterdir()) if _is_sound(path)]
    if not paths:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "an empty folder"
        raise UserError("the folder holds no sounds of words", where=folder, found=found, fix=_LAYOUT)
    inside = folder.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(inside):
            fix = "copy the file into the folder"
            raise UserError("a sound must lie inside its folder", where=path, found=path.resolve(), fix=fix)
    sounds, words = read_sounds(paths, rate, seconds), [path.parent.name for path in paths]
    return Table({"sound": sounds, "text": words}, str(folder), files=[str(path) for path in paths])


def write_sound(path: str | Path, sound: Wave, rate: int) -> None:
    """Writes numbers from -1 to 1 as a WAV file of one channel and 16 bits.

    Raises:
        UserError: the file cannot be written.
    """
    whole = (sound.clip(-1, 1) * 32767).round().astype("<i2")
    try:
        with Path(path).open("wb") as out, wave.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(whole.tobytes())
    except OSError as error:
        raise UserError("the sound cannot be written", where=path, found=error.strerror) from error


def resampled(sound: Wave, own: int, rate: int) -> Wave:
    """A sound of `own` samples a second with `rate` of them; what is too high for the new rate is filtered out.

    Example:
        >>> resampled(np.zeros(22050, dtype=np.float32), 22050, 8000).shape
        (8000,)
    """
    if own == rate:
        return sound
    common = math.gcd(own, rate)
    signal: Any = scipy("signal")
    found: Wave = signal.resample_poly(sound, rate // common, own // common).astype(np.float32)
    return found


def trimmed(sound: Wave, rate: int) -> Wave:
    """A sound from where it begins to be heard to where it ends, 10 ms of what is around it left at both sides.

    Returns:
        The part, its loudest sample 1; nothing of a sound without any.

    Example:
        >>> trimmed(np.array([0] * 1000 + [0.5] * 100 + [0] * 1000, dtype=np.float32), 1000).shape
        (120,)
    """
    frame = max(1, rate // 100)
    frames = np.abs(np.pad(sound, (0, -len(sound) % frame))).reshape(-1, frame).max(1)
    heard = np.flatnonzero(frames > _QUIET * frames.max(initial=0))
    if not len(heard):
        return sound[:0]
    part = sound[max(0, heard[0] - 1) * frame : (heard[-1] + 2) * frame]
    found: Wave = part / np.abs(part).max()
    return found


def emphasised(sound: Wave, share: float) -> Wave:
    """y_t = x_t - share x_{t-1}, its loudest sample 1: high tones stand out of the levels' noise.

    Example:
        >>> emphasised(np.array([1, 1, 0], dtype=np.float32), 0.5)
        array([ 1. ,  0.5, -0.5], dtype=float32)
    """
    found: Wave = sound - share * np.pad(sound, (1, 0))[:-1]
    return found / max(float(np.abs(found).max(initial=0)), 1e-9)


def without_emphasis(sound: Wave, share: float) -> Wave:
    """x_t = y_t + share x_{t-1}, its loudest sample 1: undoes `emphasised` but for the loudness."""
    signal: Any = scipy("signal")
    found: Wave = signal.lfilter([1.0], [1.0, -share], sound).astype(np.float32)
    return found / max(float(np.abs(found).max(initial=0)), 1e-9)


def mu_law(sound: Wave) -> Levels:
    """The level of each sample, from 0 to 255: sign(x) ln(1 + 255 |x|) / ln 256 in 256 equal steps.

    Source: ITU-T G.711, in its smooth form; A. van den Oord et al., arXiv:1609.03499v2, section 2.2.

    Example:
        >>> mu_law(np.array([-1, 0, 1], dtype=np.float32))
        array([  0, 128, 255], dtype=int32)
    """
    bent = np.sign(sound) * np.log1p(255 * np.abs(sound.clip(-1, 1))) / np.log(256)
    levels: Levels = np.floor((bent + 1) * SILENCE).clip(0, LEVELS - 1).astype(np.int32)
    return levels


def from_mu_law(levels: Levels) -> Wave:
    """The middle of each level, back as a number from -1 to 1.

    Example:
        >>> int(np.abs(mu_law(from_mu_law(np.arange(256, dtype=np.int32))) - np.arange(256)).max())
        0
    """
    return _unbent((np.asarray(levels) + 0.5) / SILENCE - 1)


def borders() -> Wave:
    """The 257 numbers between which the levels lie, from -1 to 1."""
    return _unbent(np.arange(LEVELS + 1) / SILENCE - 1)


def scipy(module: str) -> Any:
    """A module of SciPy, which filters and resamples.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(f"scipy.{module}")
    except ImportError as error:
        raise UserError("sounds need SciPy, which is not installed", fix="pip install scipy") from error


def _unbent(bent: Any) -> Wave:
    found: Wave = (np.sign(bent) * np.expm1(np.abs(bent) * np.log(256)) / 255).astype(np.float32)
    return found


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


def _read(path: Path, seconds: float) -> tuple[Wave, int]:
    """The samples of a file, channels averaged, and how many a second there are."""
    try:
        with path.open("rb") as content, wave.open(content, "rb") as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            _check(path, file.getnframes(), rate, seconds)
            if width > 4:
                raise wave.Error(f"samples of {width} bytes")
            return _mono(_numbers(file.readframes(file.getnframes()), width, channels), channels), rate
    except (wave.Error, EOFError) as error:
        return _decoded(path, seconds, str(error) or "it ends too soon")


def _numbers(data: bytes, width: int, channels: int) -> Wave:
    whole = data[: len(data) // (width * channels) * width * channels]
    if width == 1:
        return np.frombuffer(whole, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
    if width == 3:  # the upper three bytes of four
        padded = np.zeros((len(whole) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(whole, np.uint8).reshape(-1, 3)
        whole, width = padded.tobytes(), 4
    return np.frombuffer(whole, f"<i{width}").astype(np.float32) / np.float32(2 ** (8 * width - 1))


def _mono(samples: Wave, channels: int) -> Wave:
    found: Wave = samples.reshape(-1, channels).mean(1, dtype=np.float32)
    return found


def _check(path: Path, samples: int, rate: int, seconds: float) -> None:
    if not 1000 <= rate <= MOST_RATE:
        raise UserError(f"a sound has from 1,000 to {MOST_RATE:,} samples a second", where=path, found=rate)
    if samples > seconds * rate:
        fix = "cut it into words, or raise data.max_seconds"
        raise UserError(
            f"a sound lasts {seconds:g} s at most", where=path, found=f"{samples / rate:.1f} s", fix=fix
        )


def _decoded(path: Path, seconds: float, found: str) -> tuple[Wave, int]:
    """As `_read`, by PyAV."""
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        fix = "make it a PCM WAV file, or pip install av"
        raise UserError("the sound cannot be read", where=path, found=found, fix=fix) from error
    pieces: list[Wave] = []
    rate = count = 0
    try:
        with av.open(str(path)) as container:
            resampler = av.AudioResampler(format="flt", layout="mono")
            for frame in container.decode(audio=0):
                rate = rate or frame.rate
                count += frame.samples
                _check(path, count, rate, seconds)
                pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    except UserError:
        raise
    except Exception as error:  # the library raises what its formats raise, an IndexError without a sound among it
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError("the sound cannot be read", where=path, found=what) from error
    return np.concatenate(pieces or [np.zeros(0, np.float32)]), rate or 1
