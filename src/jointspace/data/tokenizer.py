"""Turns instructions into token ids: with our own vocabulary, or that of a pretrained encoder."""

import functools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64

from jointspace.errors import InputError, MissingExtraError, RunFolderError

PAD, UNKNOWN, BEGIN = "<pad>", "<unk>", "<bos>"

_SPECIAL = (PAD, UNKNOWN, BEGIN)
_ALWAYS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"-+*/=%&#@()[]<>°"
_MAX_WORD_LENGTH = 40
_CACHED_TEXTS = 4096

# Scripts without spaces are read sign by sign; an underscore separates words, as in "pick_up_cube".
_SIGN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_SIGN}]|[^\W_{_SIGN}]+|[^\w\s]")


@runtime_checkable
class TextEncoding(Protocol):
    """What the rest of jointspace asks of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Number of distinct ids."""
        ...

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids that stand for no word, and that word dropout leaves alone."""
        ...

    def encode(
        self, texts: Sequence[str]
    ) -> tuple[Int64[np.ndarray, "batch time"], Bool[np.ndarray, "batch time"]]:
        """Encodes texts, padded to the longest.

        Returns:
            Ids, and True where an id is real. Every text has at least one real id.
        """
        ...

    def normalise(self, text: str) -> str:
        """Returns a text that is the same for texts only if their ids are the same."""
        ...

    def replacements(self, token: int) -> tuple[tuple[int, ...], ...]:
        """Lists the runs of ids that word dropout may put in the place of an id; may be empty."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Returns everything that `tokenizer_from_json` needs."""
        ...


class Tokenizer:
    """Words of the training instructions, with single characters for all other words.

    Text is normalised to NFKC and lower case first. A word that training did not see is spelled,
    its first character marked, so that a typing mistake or a new noun is still more than `<unk>`;
    characters of neither training nor ASCII become `<unk>`. `<bos>` comes first, so that the empty
    text has one token.

    Args:
        words: the known words, in order of their ids.
        characters: the known characters, in order of their ids.
        max_tokens: longer texts are cut to this many ids, `<bos>` included.

    Raises:
        InputError: `max_tokens` is below 2, which leaves no room for a word.
    """

    def __init__(self, words: Iterable[str], *, characters: Iterable[str], max_tokens: int) -> None:
        if max_tokens < 2:
            raise InputError(f"max_tokens must be at least 2 (<bos> and a word), got {max_tokens}")
        self.words = tuple(words)
        self.characters = tuple(characters)
        self.max_tokens = max_tokens
        tokens = [
            *((token, "special") for token in _SPECIAL),
            *((character, "first") for character in self.characters),
            *((character, "later") for character in self.characters),
            *((word, "word") for word in self.words),
        ]
        self._id = {token: number for number, token in enumerate(tokens)}
        self._word_of = {
            number: word for number, (word, kind) in enumerate(tokens) if kind == "word"
        }
        self._replacements = functools.cache(self._replacements_of)
        self._cached = functools.lru_cache(maxsize=_CACHED_TEXTS)(self._encode_one)

    @staticmethod
    def fit(texts: Iterable[str], *, max_tokens: int) -> "Tokenizer":
        """Builds the vocabulary of the training instructions.

        Args:
            texts: instructions; each distinct word gets an id, the frequent ones first.
            max_tokens: longer texts are cut to this many ids, `<bos>` included.

        Returns:
            The tokenizer.

        Raises:
            InputError: `max_tokens` is below 2.
        """
        counts = Counter(word for text in texts for word in _words(text))
        known = sorted(
            (word for word in counts if len(word) <= _MAX_WORD_LENGTH),
            key=lambda word: (-counts[word], word),
        )
        extra = sorted({character for word in counts for character in word} - set(_ALWAYS))
        return Tokenizer(known, characters=[*_ALWAYS, *extra], max_tokens=max_tokens)

    @property
    def vocab_size(self) -> int:
        """Number of distinct ids."""
        return len(self._id)

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of `<pad>`, `<unk>` and `<bos>`."""
        return frozenset(range(len(_SPECIAL)))

    @property
    def unknown_id(self) -> int:
        """Id of `<unk>`."""
        return _SPECIAL.index(UNKNOWN)

    def encode(
        self, texts: Sequence[str]
    ) -> tuple[Int64[np.ndarray, "batch time"], Bool[np.ndarray, "batch time"]]:
        """Encodes texts, padded with zeros to the longest.

        Args:
            texts: any texts, empty and very long ones too.

        Returns:
            Ids, and True where an id is real. Every text has at least `<bos>`.
        """
        return _pad([self._cached(text) for text in texts])

    def normalise(self, text: str) -> str:
        """Returns the text in NFKC and lower case, its words a single blank apart."""
        return " ".join(_normalised(text).split())

    def replacements(self, token: int) -> tuple[tuple[int, ...], ...]:
        """Lists what word dropout may put in the place of an id: `<unk>`, or the word spelled out.

        Spelling known words now and then is what teaches the model its characters.
        """
        return self._replacements(token)

    def to_json(self) -> dict[str, Any]:
        """Returns everything that `tokenizer_from_json` needs."""
        return {
            "kind": "words",
            "max_tokens": self.max_tokens,
            "characters": list(self.characters),
            "words": list(self.words),
        }

    def _encode_one(self, text: str) -> tuple[int, ...]:
        ids = [_SPECIAL.index(BEGIN)]
        for word in _words(text):
            known = self._id.get((word, "word"))
            ids += self._spell(word) if known is None else (known,)
            if len(ids) >= self.max_tokens:
                break
        return tuple(ids[: self.max_tokens])

    def _replacements_of(self, token: int) -> tuple[tuple[int, ...], ...]:
        unknown = (self.unknown_id,)
        word = self._word_of.get(token)
        return (unknown,) if word is None else (unknown, tuple(self._spell(word)))

    def _spell(self, word: str) -> list[int]:
        kinds = ["first"] + ["later"] * (len(word) - 1)
        return [self._id.get(each, self.unknown_id) for each in zip(word, kinds, strict=True)]


class HubTokenizer:
    """The tokenizer that belongs to a pretrained encoder, as a Hugging Face `tokenizer.json`.

    Args:
        definition: the text of `tokenizer.json`; padding and truncation set in it are not used.
        max_tokens: longer texts are cut to this many ids, special ones included.

    Raises:
        MissingExtraError: the package `tokenizers` is not installed.
        InputError: the definition is none that the package understands, or `max_tokens` is below 3.
    """

    def __init__(self, definition: str, *, max_tokens: int) -> None:
        try:
            import tokenizers  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingExtraError("tokenizers", "pretrained") from error
        if max_tokens < 3:
            raise InputError(f"max_tokens must be at least 3 for this tokenizer, got {max_tokens}")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:
            raise InputError(f"not a tokenizer.json that can be read: {error}") from error
        self.max_tokens = max_tokens
        self._definition = definition
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._special = frozenset(
            number
            for number, token in self._tokenizer.get_added_tokens_decoder().items()
            if token.special
        )
        known = (self._tokenizer.token_to_id(token) for token in ("[UNK]", UNKNOWN))
        self._unknown = next((number for number in known if number is not None), None)

    @staticmethod
    def read(source: str, *, max_tokens: int) -> "HubTokenizer":
        """Reads the `tokenizer.json` of a pretrained encoder.

        Args:
            source: a local folder that holds the file; else an id on the hub, which needs the
                network once.
            max_tokens: longer texts are cut to this many ids, special ones included.

        Returns:
            The tokenizer.

        Raises:
            InputError: neither a folder with a readable `tokenizer.json` nor an id that the hub
                gives out.
            MissingExtraError: the package `tokenizers` is not installed.
        """
        path = Path(source) / "tokenizer.json"
        try:
            if not path.parent.is_dir():
                path = _download(source)
            definition = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InputError(
                f"'{source}' gives no tokenizer.json ({error}); expected the folder of a "
                "pretrained sentence encoder, or its id on the hub"
            ) from error
        return HubTokenizer(definition, max_tokens=max_tokens)

    @property
    def vocab_size(self) -> int:
        """Number of distinct ids."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids that the definition marks as special."""
        return self._special

    def encode(
        self, texts: Sequence[str]
    ) -> tuple[Int64[np.ndarray, "batch time"], Bool[np.ndarray, "batch time"]]:
        """Encodes texts with the special ids of the encoder, padded with zeros to the longest.

        Args:
            texts: any texts, empty and very long ones too.

        Returns:
            Ids, and True where an id is real. Every text has at least one real id.
        """
        empty = (self._unknown or 0,)
        # A lone surrogate, which JSON can carry, is no valid text for the package.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        encoded = self._tokenizer.encode_batch(clean) if clean else []
        return _pad([tuple(each.ids) or empty for each in encoded])

    def normalise(self, text: str) -> str:
        """Returns the text as it is: capitals and blanks may count, the definition decides that."""
        return text

    def replacements(self, token: int) -> tuple[tuple[int, ...], ...]:
        """Lists what word dropout may put in the place of an id: the encoder's unknown token."""
        del token
        return () if self._unknown is None else ((self._unknown,),)

    def to_json(self) -> dict[str, Any]:
        """Returns everything that `tokenizer_from_json` needs, the whole definition included."""
        return {
            "kind": "hub",
            "max_tokens": self.max_tokens,
            "definition": json.loads(self._definition),
        }


def tokenizer_from_json(payload: Mapping[str, Any]) -> TextEncoding:
    """Reads what a tokenizer's `to_json` returned.

    Args:
        payload: the stored tokenizer.

    Returns:
        A tokenizer that encodes every text as the stored one did.

    Raises:
        RunFolderError: unknown kind, or a missing part.
    """
    try:
        if payload["kind"] == "words":
            return Tokenizer(
                payload["words"],
                characters=payload["characters"],
                max_tokens=payload["max_tokens"],
            )
        if payload["kind"] == "hub":
            return HubTokenizer(json.dumps(payload["definition"]), max_tokens=payload["max_tokens"])
    except KeyError as error:
        raise RunFolderError(f"stored tokenizer: {error} is missing") from error
    raise RunFolderError(f"stored tokenizer: unknown kind {payload['kind']!r}")


def _download(source: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - comes with an extra
    except ImportError as error:
        raise MissingExtraError("tokenizers", "pretrained") from error
    return Path(hf_hub_download(source, "tokenizer.json"))


def _words(text: str) -> Iterable[str]:
    """Yields the normalised words one by one, so that a long text need not be read to its end."""
    return (match.group() for match in _WORD.finditer(_normalised(text)))


def _normalised(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


def _pad(
    rows: Sequence[tuple[int, ...]],
) -> tuple[Int64[np.ndarray, "batch time"], Bool[np.ndarray, "batch time"]]:
    lengths = np.asarray([len(row) for row in rows], dtype=np.int64)
    valid = np.arange(lengths.max(initial=0)) < lengths[:, None]
    ids = np.zeros(valid.shape, dtype=np.int64)
    if rows:
        ids[valid] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return ids, valid
