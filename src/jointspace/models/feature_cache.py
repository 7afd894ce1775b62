"""What frozen pretrained networks make of pictures and texts: computed once, kept on disk."""

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from jointspace.config import RunConfig
from jointspace.data.feature_store import FEATURES_VERSION, FeatureStore, fill_features
from jointspace.data.frame_cache import default_cache_dir
from jointspace.data.frames import FrameStore
from jointspace.data.tokenizer import TextEncoding
from jointspace.encoders.sentence import SentenceEncoder
from jointspace.models.build import build_frame_encoder
from jointspace.models.joint import JointModel
from jointspace.storage import write_whole


def vision_features(
    config: RunConfig,
    store: FrameStore,
    *,
    device: torch.device | str = "cpu",
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FrameStore | FeatureStore:
    """Returns what the vision tower of a configuration reads: the pictures, or features of them.

    With `model.vision.cache_features`, the frozen network reads every picture of the data set once;
    training and evaluation then begin at its features.

    Args:
        config: of the run.
        store: the pictures.
        device: where the network runs.
        cache_dir: where features are kept; None means `$JOINTSPACE_CACHE` or the user's cache.
        progress: called with pictures done and pictures in all.

    Returns:
        `store` itself where nothing is to be cached.

    Raises:
        InputError: there is no such network, or it reads no pictures of this size.
        StorageError: the disk has not enough space, or a file cannot be written.
        MissingExtraError: `transformers` is not installed.
    """
    vision = config.model.vision
    if vision.cache_features == "off":
        return store
    encoder = build_frame_encoder(vision, image_px=store.image_px).to(device).eval()

    def read(
        pictures: UInt8[np.ndarray, "picture px px 3"],
    ) -> Float[np.ndarray, "picture token channel"]:
        with torch.no_grad():
            features: np.ndarray = (
                encoder.features(torch.from_numpy(pictures).to(device)).cpu().numpy()
            )
        return features

    return fill_features(
        store,
        read,
        network=encoder.feature_name,
        feature_shape=encoder.feature_shape,
        dtype=vision.cache_features,
        cache_dir=cache_dir,
        progress=progress,
    )


def remember_texts(
    model: JointModel,
    tokenizer: TextEncoding,
    texts: Sequence[str],
    *,
    cache_dir: Path | None = None,
) -> int:
    """Lets a frozen sentence encoder remember texts, so that it reads them once and for all.

    Each text is read by itself: what is remembered of it does not depend on the others.

    Args:
        model: whose text tower remembers; a model with another tower, or one that is trained
            through, is left as it is.
        tokenizer: of the model.
        texts: the distinct instructions of a data set.
        cache_dir: where the features are kept; None means `$JOINTSPACE_CACHE` or the user's cache.

    Returns:
        How many texts are remembered.

    Raises:
        StorageError: the cache cannot be written.
    """
    tower = next((each for each in model.modules() if isinstance(each, SentenceEncoder)), None)
    if tower is None or tower.backbone.trainable != "frozen" or not texts:
        return 0
    ids, valid = tokenizer.encode(texts)
    rows = np.unique(np.where(valid, ids, -1), axis=0)
    ids, valid = np.where(rows < 0, 0, rows), rows >= 0
    folder = (default_cache_dir() if cache_dir is None else cache_dir) / "features"
    digest = hashlib.sha256(f"{FEATURES_VERSION} {tower.feature_name} {ids.shape}\n".encode())
    digest.update(rows.tobytes())
    file = folder / f"{digest.hexdigest()[:32]}.npz"
    if file.is_file():
        with np.load(file) as stored:
            tokens, pooled = stored["tokens"], stored["pooled"]
    else:
        tokens, pooled = _read_texts(tower, ids, valid)
        content = io.BytesIO()
        np.savez(content, tokens=tokens, pooled=pooled)
        write_whole(file, content.getvalue())
    tower.remember(*(torch.from_numpy(each) for each in (ids, valid, tokens, pooled)))
    return len(ids)


def _read_texts(
    tower: SentenceEncoder, ids: np.ndarray, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.zeros((*ids.shape, tower.pretrained_width), dtype=np.float32)
    pooled = np.zeros((len(ids), tower.pretrained_width), dtype=np.float32)
    device = tower.known_pooled.device
    for row, length in enumerate(valid.sum(1).tolist()):
        text = torch.from_numpy(ids[row : row + 1, :length]).to(device)
        with torch.no_grad():
            read = tower.read(text, torch.ones_like(text, dtype=torch.bool))
        tokens[row, :length], pooled[row] = (each[0].float().cpu().numpy() for each in read)
    return tokens, pooled
