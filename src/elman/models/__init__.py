"""The arrangements of inputs and outputs, and writing with them."""

from __future__ import annotations

from elman.models.carried_state import CarriedState
from elman.models.committee import Committee, WritingCommittee
from elman.models.consensus import consensus
from elman.models.encoder_decoder import Attention, EncoderDecoder
from elman.models.language_model import LanguageModel
from elman.models.many_to_many import ManyToMany
from elman.models.many_to_one import ManyToOne
from elman.models.one_to_many import OneToMany
from elman.models.one_to_one import OneToOne
from elman.models.stream import ModelStream
from elman.models.word_encoder import WordEncoder
from elman.models.writing import Hypothesis, Memory, Sampling, Writer, beam_search, generate, samples

__all__ = [
    "Attention",
    "CarriedState",
    "Committee",
    "EncoderDecoder",
    "Hypothesis",
    "LanguageModel",
    "ManyToMany",
    "ManyToOne",
    "Memory",
    "ModelStream",
    "OneToMany",
    "OneToOne",
    "Sampling",
    "WordEncoder",
    "Writer",
    "WritingCommittee",
    "beam_search",
    "consensus",
    "generate",
    "samples",
]
