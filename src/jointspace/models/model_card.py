"""The model card: what a space is, how it is used, what was measured, and what was not."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jointspace import __version__
from jointspace.batch import SIX_DIRECTIONS, Direction, Modality
from jointspace.config import RunConfig

_HEADLINE = "mean_average_precision"
_COLUMNS = {"recall_at_1": "R@1", "recall_at_5": "R@5", _HEADLINE: "mAP"}
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)

_USE = """```python
from pathlib import Path

from jointspace.batch import VISION
from jointspace.data.frames import prepare_frames
from jointspace.data.open import open_dataset
from jointspace.data.samples import SampleSet
from jointspace.models.hub import JointSpace

space = JointSpace.from_pretrained({name})
dataset, store = prepare_frames(
    open_dataset(Path("path/to/dataset")),
    image_px=space.preprocessor.image_px,
    cameras=space.preprocessor.cameras,
)
windows = SampleSet.of_windows(dataset, store, space.preprocessor, episodes=[0])
vectors = space.embedder.embed(VISION, windows.batch(range(len(windows))))  # unit rows
```"""


def model_card(
    name: str,
    *,
    config: RunConfig,
    modalities: Sequence[Modality],
    cameras: Sequence[str],
    metrics: Mapping[str, Any],
    datasets: Sequence[str],
    license_name: str,
) -> str:
    """Writes the card of a space, with the header that the hub reads.

    Only what was measured is stated as a number, beside what chance would score; what was not is
    named.

    Args:
        name: of the model, or its id on the hub.
        config: what it was trained with.
        modalities: what it embeds.
        cameras: names of its cameras.
        metrics: as `metrics.json` holds them; empty if nothing was measured.
        datasets: what it was trained on.
        license_name: in the hub's spelling; `unknown` if nobody has said.

    Returns:
        Markdown.
    """
    splits: Mapping[str, Any] = metrics.get("splits", {})
    header: dict[str, Any] = {
        "library_name": "jointspace",
        "license": license_name,
        "pipeline_tag": "robotics",
        "tags": ["jointspace", "robotics", "embeddings", "contrastive-learning", config.model.name],
    }
    on_hub = [each for each in datasets if "/" in each and _HUB_NAME.fullmatch(each)]
    if on_hub:
        header["datasets"] = on_hub
    base = _base_models(config)
    if base:
        header["base_model"] = base
    if splits:
        header["metrics"] = list(_COLUMNS)
        header["model-index"] = [
            {"name": name.rpartition("/")[2], "results": _results(splits, datasets)}
        ]
    return "\n".join(
        [
            "---",
            *_yaml(header),
            "---",
            "",
            f"# {name}",
            "",
            *_what(config, modalities, cameras, datasets, license_name),
            "",
            "## Use",
            "",
            _USE.format(name=json.dumps(name)),
            "",
            "`JointSpace.from_pretrained` takes the folder of this card, or its id on the hub.",
            "",
            "## Measured",
            "",
            *_measured(splits, modalities),
            "",
            f"Written by jointspace {__version__}.",
            "",
        ]
    )


def _what(
    config: RunConfig,
    modalities: Sequence[Modality],
    cameras: Sequence[str],
    datasets: Sequence[str],
    license_name: str,
) -> Iterator[str]:
    model, data = config.model, config.data
    yield (
        f"One embedding space of {model.embed_dim} dimensions for {', '.join(modalities)}: what "
        "belongs together lies together, and each can be searched with the others."
    )
    yield ""
    yield f"- model: `{model.name}`, fusion `{model.fusion}`, loss `{config.loss.name}`"
    if model.pair_metric == "gated":
        yield (
            "- compared through the gate of each pair: `gated_rows(vectors, gate)` of "
            "`jointspace.batch`, with `space.embedder.pair_gate(first, second)`, before products"
        )
    if cameras:
        yield f"- pictures: {data.image_px} px, of {', '.join(cameras)}; {_vision(config)}"
    yield f"- instructions: {_text(config)}"
    yield f"- windows: {data.window_s:g} s with {data.window_frames} pictures"
    yield f"- trained on: {', '.join(datasets) or 'a data set that is not named'}"
    if license_name == "unknown":
        yield "- licence: not stated; ask who gave the model away before you use it"


def _vision(config: RunConfig) -> str:
    vision = config.model.vision
    if vision.tower == "convolution":
        return "a convolutional network, trained from scratch"
    return f"{_published(vision.pretrained)}, {vision.trainable}, with a trained adapter"


def _text(config: RunConfig) -> str:
    text = config.model.text
    if text.tower == "transformer":
        return "a transformer, trained from scratch"
    return f"{_published(text.pretrained)}, {text.trainable}, with a trained adapter"


def _published(source: str) -> str:
    return f"`{source}`" if _on_hub(source) else "a pretrained network that lies in `pretrained/`"


def _on_hub(source: str) -> bool:
    return bool(_HUB_NAME.fullmatch(source)) and not Path(source).is_dir()


def _base_models(config: RunConfig) -> list[str]:
    model = config.model
    used = [model.vision.pretrained] if model.vision.tower == "pretrained" else []
    used += [model.text.pretrained] if model.text.tower == "sentence" else []
    return [each for each in used if _on_hub(each)]


def _results(splits: Mapping[str, Any], datasets: Sequence[str]) -> list[dict[str, Any]]:
    dataset = ", ".join(datasets) or "unnamed"
    return [
        {
            "task": {"type": "feature-extraction", "name": "cross-modal retrieval"},
            "dataset": {"name": dataset, "type": dataset, "split": split},
            "metrics": [
                {
                    "type": key,
                    "name": f"{each['query']} -> {each['target']} {title}",
                    "value": round(each[key]["value"], 4),
                }
                for each in measured["core"]
                for key, title in _COLUMNS.items()
                if each[key]["value"] is not None
            ],
        }
        for split, measured in splits.items()
    ]


def _measured(splits: Mapping[str, Any], modalities: Sequence[Modality]) -> Iterator[str]:
    wanted = [each for each in SIX_DIRECTIONS if {each.query, each.target} <= set(modalities)]
    if not splits:
        yield (
            "Nothing was measured. `jointspace evaluate RUN --data DATASET` measures retrieval in "
            "every direction on held-out episodes; save or push the run again after it."
        )
    for name, measured in splits.items():
        yield f"### Split `{name}`"
        yield ""
        if measured.get("holds_out"):
            yield f"Held out: {measured['holds_out']}."
            yield ""
        yield f"| direction | rows | candidates | {' | '.join(_COLUMNS.values())} |"
        yield f"|---|---|---|{'---|' * len(_COLUMNS)}"
        for each in measured["core"]:
            cells = " | ".join(_cell(each[key]) for key in _COLUMNS)
            yield (
                f"| {each['query']} -> {each['target']} | {each['scale']} | {each['num_targets']} "
                f"| {cells} |"
            )
        yield ""
        found = {Direction(each["query"], each["target"]) for each in measured["core"]}
        missing = [str(each) for each in wanted if each not in found]
        if missing:
            yield f"Not measured on this split: {', '.join(missing)}."
            yield ""
    if splits:
        yield "In brackets what chance would score, and the interval in which the value lies."
    yield ""
    yield (
        "Not measured: success of a robot that acts by this space, robots and scenes that the data "
        "set does not show, and whether the pretrained networks or the data hold biases."
    )


def _cell(estimate: Mapping[str, Any]) -> str:
    def number(key: str) -> str:
        value = estimate.get(key)
        return "not measured" if value is None else f"{value:.3f}"

    if estimate.get("low") is None or estimate.get("high") is None:
        return f"{number('value')} ({number('chance')})"
    return f"{number('value')} ({number('chance')}; {number('low')} to {number('high')})"


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Yields YAML of dicts, lists and scalars; a scalar in JSON is one in YAML too."""
    pairs = value.items() if isinstance(value, Mapping) else ((None, each) for each in value)
    for key, each in pairs:
        start = f"{indent}-" if key is None else f"{indent}{key}:"
        if not isinstance(each, Mapping | list):
            yield f"{start} {json.dumps(each, ensure_ascii=False)}"
            continue
        lines = list(_yaml(each, f"{indent}  "))
        if key is None:
            yield f"{start} {lines.pop(0).lstrip()}"
        else:
            yield start
        yield from lines
