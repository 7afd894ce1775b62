"""The folder of a retrieval policy: JSON and npz, nothing pickled, whole or not there."""

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jointspace.data.artefact import read_json
from jointspace.errors import RunFolderError
from jointspace.robot.policy.grounding import Grounding
from jointspace.robot.policy.head import ControlHead
from jointspace.robot.policy.index import DemonstrationIndex
from jointspace.robot.policy.motion import MotionLayout
from jointspace.robot.policy.observe import Observer
from jointspace.robot.policy.palette import Palette
from jointspace.robot.policy.retrieval import Demonstrations
from jointspace.robot.policy.wordings import KnownWordings
from jointspace.storage import write_whole

POLICY_FILE = "policy.json"
ARRAYS_FILE = "demonstrations.npz"
POLICY_VERSION = 3
_HEAD = "head."


def save_demonstrations(demonstrations: Demonstrations, folder: Path) -> None:
    """Writes a policy; its `policy.json` comes last.

    Raises:
        StorageError: a file could not be written.
    """
    own = demonstrations
    grounding = own.observer.grounding
    arrays: dict[str, Any] = {
        "colours": own.observer.palette.colours,
        "camera": grounding.camera,
        "texts": grounding.texts,
        "item": grounding.item,
        "target": grounding.target,
        "rows": own.index.rows,
        "chunks": own.index.chunks.astype(np.float16),
        "episodes": own.index.episodes,
        **{f"{_HEAD}{name}": array for name, array in own.head.arrays.items()},
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(folder / ARRAYS_FILE, buffer.getvalue())
    payload = {
        "version": POLICY_VERSION,
        "cameras": list(own.cameras),
        "image_px": own.image_px,
        "fps": own.fps,
        "model_id": own.model_id,
        "layout": asdict(own.layout),
        "num_moments": len(own.index),
    }
    write_whole(folder / POLICY_FILE, json.dumps(payload, indent=1) + "\n")


def load_demonstrations(folder: Path) -> Demonstrations:
    """Reads what `save_demonstrations` wrote.

    Raises:
        RunFolderError: a file is missing, damaged, or of another version.
    """
    stored: dict[str, Any] = read_json(folder / POLICY_FILE, version=POLICY_VERSION)
    path = folder / ARRAYS_FILE
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        layout = stored["layout"]
        return Demonstrations(
            cameras=tuple(stored["cameras"]),
            image_px=stored["image_px"],
            fps=stored["fps"],
            model_id=stored["model_id"],
            layout=MotionLayout(
                tuple(layout["state"]), tuple(layout["action"]), layout["action_dim"]
            ),
            observer=Observer(
                Palette(arrays["colours"]),
                Grounding(arrays["camera"], arrays["texts"], arrays["item"], arrays["target"]),
                num_cameras=len(stored["cameras"]),
            ),
            wordings=KnownWordings(arrays["texts"]),
            head=ControlHead(
                {
                    name.removeprefix(_HEAD): array
                    for name, array in arrays.items()
                    if name.startswith(_HEAD)
                }
            ),
            index=DemonstrationIndex(
                arrays["rows"], arrays["chunks"].astype(np.float32), arrays["episodes"]
            ),
        )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RunFolderError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); "
            "make the policy again with `jointspace learn`"
        ) from error
