"""What a cache of embeddings costs, against the textbook's, both in one run and by turns.

- collisions: pairs of different inputs that share a key: pictures and their mirror images, and
  their copies with two rows swapped. The textbook's key is the mean of the tensor.
- hit: the time from an input to its stored row. A frame is 224 x 224 x 3 bytes; the textbook makes
  a float tensor of it before it can make a key, which is also measured without that, in its favour.
  For an instruction the textbook has a tensor of 768 numbers, as its text tower wants, and
  jointspace the string; what the textbook's tokenizer costs before that is left out, in its favour.
- eviction: storing one more row in a full cache; and how much longer that takes than where there
  is room, which is the eviction alone. The textbook's searches all times of use. jointspace's
  storing also copies the row and makes sure that it is finite.

Times are microseconds of the processor, which other load distorts less than the clock; medians over
the repeats.

Run: python benchmarks/cache.py --json cache.json
"""

import argparse
import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import processor
from rich.console import Console
from rich.table import Table
from textbook_cache import CachedMultimodalSystem

from jointspace.batch import VISION
from jointspace.data.tokenizer import Tokenizer
from jointspace.deploy.cache import EmbeddingCache
from jointspace.deploy.cache_keys import array_key
from jointspace.deploy.cache_rows import cached_pictures, cached_texts

DIM = 256
PX = 224
TEXT_DIM = 768
VERSION = "model 1 preprocessing 1"
COMMAND = "pick up the red cube and put it into the box on the left"


class ConstantModel:
    """Costs nothing, so that what is measured is the cache."""

    def __init__(self) -> None:
        self._row = torch.ones(1, DIM)

    def encode_vision(self, _: torch.Tensor) -> torch.Tensor:
        """Returns the row."""
        return self._row

    encode_text = encode_action = encode_vision


def main() -> None:
    """Measures, prints a table, and writes JSON if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--pictures", type=int, default=200, help="of the count of collisions")
    parser.add_argument("--calls", type=int, default=500, help="timed at a time")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--entries", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    collisions = count_collisions(arguments.pictures)
    times_us = {
        **hit_times_us(calls=arguments.calls, repeats=arguments.repeats),
    }
    for entries in arguments.entries:
        times_us |= eviction_times_us(entries, calls=arguments.calls, repeats=arguments.repeats)
    _print(collisions, times_us)
    if arguments.json:
        payload = {
            "version": 1,
            "machine": {"processor": processor(), "cores": os.cpu_count()},
            "packages": {"numpy": np.__version__, "torch": torch.__version__},
            "python": platform.python_version(),
            "pictures": arguments.pictures,
            "collisions": collisions,
            "times_us": times_us,
        }
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")


def count_collisions(num_pictures: int) -> dict[str, dict[str, int]]:
    """Counts the changed pictures that get the key of the original."""
    rng = np.random.default_rng(0)
    counts = {
        name: {"textbook": 0, "jointspace": 0}
        for name in ("mirrored", "upside down", "rows swapped")
    }
    chapter = CachedMultimodalSystem(ConstantModel())
    for _ in range(num_pictures):
        picture = rng.integers(0, 256, (PX, PX, 3), dtype=np.uint8)
        swapped = picture.copy()
        swapped[[0, -1]] = swapped[[-1, 0]]
        changed = {
            "mirrored": picture[:, ::-1],
            "upside down": picture[::-1],
            "rows swapped": swapped,
        }
        for name, other in changed.items():
            counts[name]["textbook"] += chapter.key(_tensor(picture), "visual") == chapter.key(
                _tensor(other), "visual"
            )
            counts[name]["jointspace"] += array_key(
                picture, modality=VISION, version=VERSION
            ) == array_key(other, modality=VISION, version=VERSION)
    return counts


def hit_times_us(*, calls: int, repeats: int) -> dict[str, dict[str, float]]:
    """Measures hits, the two caches by turns."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (PX, PX, 3), dtype=np.uint8)
    tensor, text = _tensor(picture), torch.randn(1, TEXT_DIM)
    chapter = CachedMultimodalSystem(ConstantModel())
    tokenizer = Tokenizer.fit([COMMAND], max_tokens=32)
    row = np.ones(DIM, np.float32)
    cache = EmbeddingCache()
    pictures = cached_pictures(
        lambda each: np.tile(row, (len(each), 1)), version=VERSION, width=DIM, cache=cache
    )
    texts = cached_texts(
        lambda each: np.tile(row, (len(each), 1)),
        version=VERSION,
        normalise=tokenizer.normalise,
        dim=DIM,
        cache=cache,
    )
    # Spelled anew each time: what is remembered letter by letter does not help here.
    count = calls * repeats + 1
    spellings = iter(list(itertools.islice(_spellings(COMMAND), count)))
    methods = {
        "hit, frame 224 x 224": {
            "textbook": lambda: chapter.get_or_compute_embedding(_tensor(picture), "visual"),
            "jointspace": lambda: pictures.row(picture),
        },
        "hit, frame whose tensor is there": {
            "textbook": lambda: chapter.get_or_compute_embedding(tensor, "visual"),
            "jointspace": lambda: pictures.row(picture),
        },
        "hit, instruction": {
            "textbook": lambda: chapter.get_or_compute_embedding(text, "text"),
            "jointspace": lambda: texts.row(COMMAND),
        },
        "hit, instruction in a new spelling": {
            "textbook": lambda: chapter.get_or_compute_embedding(text, "text"),
            "jointspace": lambda: texts.row(next(spellings)),
        },
    }
    return {name: _by_turns(both, calls=calls, repeats=repeats) for name, both in methods.items()}


def eviction_times_us(entries: int, *, calls: int, repeats: int) -> dict[str, dict[str, float]]:
    """Measures storing into a full cache, and how much of it is making room."""
    row, tensor = np.ones(DIM, np.float32), torch.ones(1, DIM)
    number = iter(range(1 << 62))
    methods: dict[str, Callable[[], Any]] = {}
    for room, most in (("full", entries), ("room", 1 << 62)):
        chapter = CachedMultimodalSystem(ConstantModel(), cache_size=most)
        ours = EmbeddingCache(max_entries=most, max_bytes=1 << 62)
        for _ in range(entries):
            chapter.store(f"text_{next(number)}", tensor)
            ours.put(next(number).to_bytes(16, "big"), row)
        methods |= {
            f"textbook {room}": lambda cache=chapter: cache.store(f"text_{next(number)}", tensor),
            f"jointspace {room}": lambda cache=ours: cache.put(
                next(number).to_bytes(16, "big"), row
            ),
        }
    measured = _by_turns(methods, calls=calls, repeats=repeats)
    full = {name: measured[f"{name} full"] for name in ("textbook", "jointspace")}
    return {
        f"store into {entries:,} full entries": full,
        f"of it, making room among {entries:,}": {
            name: each - measured[f"{name} room"] for name, each in full.items()
        },
    }


def _by_turns(
    methods: dict[str, Callable[[], Any]], *, calls: int, repeats: int
) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for call in methods.values():
        call()
    for _ in range(repeats):
        for name, call in methods.items():
            start = time.thread_time()
            for _ in range(calls):
                call()
            seconds[name].append((time.thread_time() - start) / calls)
    return {name: median(each) * 1e6 for name, each in seconds.items()}


def _tensor(picture: np.ndarray) -> torch.Tensor:
    """What the chapter's node makes of a picture."""
    return (
        torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].contiguous() / 255.0
    )


def _spellings(text: str) -> Iterator[str]:
    """Yields the text with other letters in capitals each time."""
    letters = [place for place, letter in enumerate(text) if letter.isalpha()]
    for chosen in itertools.combinations(letters, 3):
        yield "".join(c.upper() if place in chosen else c for place, c in enumerate(text))


def _print(collisions: dict[str, dict[str, int]], times_us: dict[str, dict[str, float]]) -> None:
    table = Table(title="a cache of embeddings")
    for column in ("", "textbook", "jointspace", "times cheaper"):
        table.add_column(column, justify="left" if not column else "right")
    for name, counts in collisions.items():
        table.add_row(f"collisions, {name}", *(str(each) for each in counts.values()), "")
    for name, each in times_us.items():
        theirs, ours = each["textbook"], each["jointspace"]
        table.add_row(
            f"{name}, us",
            f"{theirs:.2f}",
            f"{ours:.2f}",
            f"{theirs / ours:.1f}" if ours > 0 else "-",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
