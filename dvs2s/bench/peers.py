"""Other people's engines on a Transformer of random weights: CTranslate2 and Hugging Face.

Both get one model, made here and converted here, so that their replies can be compared; neither
needs a network. The extra ``dvs2s[peers]`` brings them.
"""

import copy
import importlib
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from dvs2s.bench.contenders import Replies, Task
from dvs2s.errors import Dvs2sError
from dvs2s.model import ModelSizes

_EOS = 0  # Marian's end of sentence
_MAP = "vmap.txt"


def why_no_peers() -> str:
    """Returns why the peers take no part, or "" when they are installed."""
    for name in ("transformers", "ctranslate2"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            return f"not installed ({error}): pip install 'dvs2s[peers]'"
    return ""


@dataclass(frozen=True)
class TransformerSizes:
    """Widths of the peers' Transformer.

    Args:
        width: of states; depth: layers of the encoder, and as many of the decoder.
        inner: of the layers between; heads: of attention.
    """

    width: int
    depth: int
    inner: int
    heads: int


def transformer_like(sizes: ModelSizes) -> TransformerSizes:
    """Returns Transformer-base's widths for models of the paper's width, tiny ones for tiny ones.

    Base is the usual model of the peers, half as wide as ours and with less than half of its
    parameters: what differs is in their favour.
    """
    if sizes.hidden_size >= 512:
        return TransformerSizes(512, 6, 2_048, 8)
    return TransformerSizes(16, 1, 32, 2)


class RandomTransformer:
    """A Marian model of random weights.

    Args:
        sizes: whose vocabulary and rough width it gets.

    Raises:
        Dvs2sError: the peers are not installed.
    """

    def __init__(self, sizes: ModelSizes) -> None:
        if why := why_no_peers():
            raise Dvs2sError(f"the peers are {why}")
        self.sizes, like = sizes, transformer_like(sizes)
        transformers = importlib.import_module("transformers")
        pad = sizes.vocabulary_size
        config = transformers.MarianConfig(
            vocab_size=pad + 1,
            d_model=like.width,
            encoder_layers=like.depth,
            decoder_layers=like.depth,
            encoder_attention_heads=like.heads,
            decoder_attention_heads=like.heads,
            encoder_ffn_dim=like.inner,
            decoder_ffn_dim=like.inner,
            activation_function="relu",
            max_position_embeddings=128,
            scale_embedding=True,
            pad_token_id=pad,
            eos_token_id=_EOS,
            forced_eos_token_id=None,
            decoder_start_token_id=pad,
            dropout=0.0,
        )
        self.model = transformers.MarianMTModel(config).eval()
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.note = (
            f"Transformer {like.depth} + {like.depth} layers, {like.width} wide, "
            f"{self.parameters / 1e6:.0f} M parameters, not a GRU"
        )


class HuggingFace:
    """``generate`` of Hugging Face's transformers, in float32."""

    def __init__(self, made: RandomTransformer) -> None:
        self.name, self.vocabulary, self.family = "Hugging Face generate fp32", "full", "peer"
        self.note = made.note
        self._model = made.model
        self._pad = made.sizes.vocabulary_size

    @torch.inference_mode()
    def decode(self, task: Task) -> tuple[Replies, dict[str, float]]:
        """Returns the replies, and no stages."""
        length = task.options.max_length
        found = self._model.generate(
            input_ids=task.messages,
            attention_mask=torch.ones_like(task.messages),
            num_beams=task.options.beam,
            do_sample=False,
            min_new_tokens=length,
            max_new_tokens=length,
            suppress_tokens=[self._pad],
        )
        return [row[1 : length + 1].tolist() for row in found], {}


class CTranslate2:
    """CTranslate2 in int8, at the fastest of its thread settings for each kind of task.

    Args:
        made: the model to convert.
        vocabulary: "dynamic" with a vocabulary map that allows as many words as |T|, "full".
        threads: that there are.
        num_words: |T|.
    """

    def __init__(
        self, made: RandomTransformer, vocabulary: str, threads: int, num_words: int
    ) -> None:
        kind = " with vocabulary map" if vocabulary == "dynamic" else ""
        self.name, self.vocabulary, self.family = f"CTranslate2 int8{kind}", vocabulary, "peer"
        self._made, self._threads, self._num_words = made, threads, num_words
        self._best: dict[tuple[int, int], int] = {}

    @property
    def note(self) -> str:
        """What has to be known to compare it."""
        ways = [
            f"{name} for batch {batch} beam {beam}"
            for (batch, beam), way in self._best.items()
            for name in [f"{self._ways[way][1]} workers of {self._ways[way][2]} threads"]
        ]
        return f"{self._made.note}; fastest with " + ", ".join(ways)

    @cached_property
    def _ways(self) -> list[tuple[Any, int, int]]:
        """Translators with their workers and threads a worker."""
        ctranslate2 = importlib.import_module("ctranslate2")
        settings = dict.fromkeys([(1, self._threads), (self._threads, 1)])
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "model"
            self._convert(folder)
            return [
                (
                    ctranslate2.Translator(
                        str(folder),
                        device="cpu",
                        compute_type="int8",
                        inter_threads=workers,
                        intra_threads=each,
                    ),
                    workers,
                    each,
                )
                for workers, each in settings
            ]

    def decode(self, task: Task) -> tuple[Replies, dict[str, float]]:
        """Returns the replies, and no stages."""
        shape = (len(task.messages), task.options.beam)
        if shape not in self._best:
            self._best[shape] = self._fastest(task)
        return self._translate(self._best[shape], task), {}

    def _fastest(self, task: Task) -> int:
        seconds: list[float] = []
        for way in range(len(self._ways)):
            self._translate(way, task)
            start = time.perf_counter()
            self._translate(way, task)
            seconds.append(time.perf_counter() - start)
        return seconds.index(min(seconds))

    def _translate(self, way: int, task: Task) -> Replies:
        translator, workers, _ = self._ways[way]
        length = task.options.max_length
        found = translator.translate_batch(
            [[_token(i) for i in row] for row in task.messages.tolist()],
            beam_size=task.options.beam,
            min_decoding_length=length,
            max_decoding_length=length,
            max_batch_size=-(-len(task.messages) // workers),
            use_vmap=self.vocabulary == "dynamic",
        )
        return [[_id(token) for token in one.hypotheses[0]] for one in found]

    def _convert(self, folder: Path) -> None:
        loaders = importlib.import_module("ctranslate2.converters.transformers")
        loader = loaders.MarianMTLoader()
        # a copy: converting rounds the weights where they stand
        spec = loader.get_model_spec(copy.deepcopy(self._made.model))
        tokens = [_token(i) for i in range(self._made.sizes.vocabulary_size)]
        spec.register_source_vocabulary(tokens)
        spec.register_target_vocabulary(tokens)
        for part in ("eos_token", "bos_token", "decoder_start_token"):
            setattr(spec.config, part, tokens[_EOS])
        spec.config.unk_token = tokens[1]
        spec.validate()
        spec.optimize(quantization="int8")
        if self.vocabulary == "dynamic":
            path = folder.with_name(_MAP)
            path.write_text("\n".join(self._vocabulary_map()) + "\n")
            spec.register_vocabulary_mapping(str(path))
        folder.mkdir()
        spec.save(str(folder))

    def _vocabulary_map(self) -> list[str]:
        """Returns lines of word and candidates: the fixed words for all, a share of |T| a word."""
        sizes = self._made.sizes
        each = max(1, (self._num_words - sizes.num_fixed) // 15)
        content = range(sizes.num_fixed, sizes.vocabulary_size)
        generator = torch.Generator().manual_seed(0)
        picks = torch.randint(len(content), (sizes.vocabulary_size, each), generator=generator)
        lines = ["\t" + " ".join(_token(i) for i in range(sizes.num_fixed))]
        return lines + [
            f"{_token(word)}\t" + " ".join(_token(content[i]) for i in row)
            for word, row in enumerate(picks.tolist())
        ]


def _token(number: int) -> str:
    return "</s>" if number == _EOS else "<unk>" if number == 1 else f"w{number}"


def _id(token: str) -> int:
    return {"</s>": _EOS, "<unk>": 1}[token] if token[0] == "<" else int(token[1:])
