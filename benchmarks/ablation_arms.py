"""What the ablation compares: each arm is the base configuration plus a few overrides.

A new arm is one line of `ARMS`. No arm may change the budget (`BUDGET`), so that all of them see
equally many rows. The arm of a question that repeats what the base has anyway (`loss.name` and the
like, for another base) costs nothing: it is the base, and is shown so.
"""

from dataclasses import dataclass

from jointspace.errors import InputError, did_you_mean

BASE = "base"
SENTENCE_ENCODER = "{sentence_encoder}"
"""Stands in an override for the folder that `--sentence-encoder` names."""

BUDGET = ("train.num_steps", "train.batch_size")

QUESTIONS = {
    "loss": "Which loss?",
    "ignore": "Which wrong answers are left out of the loss?",
    "trajectory": "Which tower reads a trajectory?",
    "pooling": "How are pictures read together over time?",
    "text": "Which tower reads the instruction?",
    "word-dropout": "How many words are replaced in training?",
    "metric": "How are two modalities compared?",
    "temperature": "From which temperature is it learned?",
    "augmentation": "How much are training rows changed?",
    "fused": "Do fused queries have a term of their own?",
    "rows": "How many steps see whole episodes, and what do the others train?",
    "start": "Does training begin with words and pictures alone?",
    "optimizer": "Which optimiser, and how much do weights decay?",
    "variety": "Do other wordings, fewer cameras, erased squares or balanced goals help?",
}
"""Name of a question -> its heading, in the order of the report."""


@dataclass(frozen=True)
class Arm:
    """One configuration that is compared with the base.

    Attributes:
        name: unique; what `--arms` takes.
        question: of `QUESTIONS`.
        overrides: `key=value`, on top of the base.
    """

    name: str
    question: str
    overrides: tuple[str, ...]


_NO_PICTURE_CHANGES = ("augment.shift_px=0", "augment.brightness=0", "augment.contrast=0")
_NO_TIME_CHANGES = ("augment.start_jitter_s=0", "augment.frame_jitter=0", "augment.step_noise=0")

ARMS = (
    Arm("out", "loss", ("loss.name=contrastive", "loss.normalisation=out")),
    Arm("in", "loss", ("loss.name=contrastive", "loss.normalisation=in")),
    Arm("diagonal", "loss", ("loss.positives=diagonal",)),
    Arm("sigmoid", "loss", ("loss.name=sigmoid", "loss.initial_temperature=0.1")),  # as SigLIP
    Arm("triplet", "loss", ("loss.name=triplet", "loss.mining=semi-hard")),
    Arm("ignore-none", "ignore", ("loss.ignore=none",)),
    Arm("ignore-overlap", "ignore", ("loss.ignore=overlap",)),
    Arm("ignore-instruction", "ignore", ("loss.ignore=instruction",)),
    Arm("ignore-goal", "ignore", ("loss.ignore=goal",)),
    Arm("trajectory-frequency", "trajectory", ("model.action.tower=frequency",)),
    Arm("trajectory-convolution", "trajectory", ("model.action.tower=convolution",)),
    Arm("trajectory-transformer", "trajectory", ("model.action.tower=transformer",)),
    Arm("pooling-frequency", "pooling", ("model.vision.pooling=frequency",)),
    Arm("pooling-attention", "pooling", ("model.vision.pooling=attention",)),
    Arm(
        "pooling-attention-layer",
        "pooling",
        ("model.vision.pooling=attention", "model.vision.temporal_layers=1"),
    ),
    Arm("text-attention+max", "text", ("model.text.pooling=attention+max",)),
    Arm("text-attention", "text", ("model.text.pooling=attention",)),
    Arm(
        "text-sentence",
        "text",
        (
            "model.text.tower=sentence",
            f"model.text.pretrained={SENTENCE_ENCODER}",
            "model.text.trainable=frozen",
        ),
    ),
    Arm("word-dropout-0", "word-dropout", ("model.text.word_dropout=0",)),
    Arm("word-dropout-.05", "word-dropout", ("model.text.word_dropout=0.05",)),
    Arm("word-dropout-.15", "word-dropout", ("model.text.word_dropout=0.15",)),
    Arm("word-dropout-.3", "word-dropout", ("model.text.word_dropout=0.3",)),
    Arm("temperature-.03", "temperature", ("loss.initial_temperature=0.03",)),
    Arm("temperature-.07", "temperature", ("loss.initial_temperature=0.07",)),
    Arm("temperature-.2", "temperature", ("loss.initial_temperature=0.2",)),
    Arm("augmentation-none", "augmentation", _NO_PICTURE_CHANGES + _NO_TIME_CHANGES),
    Arm("augmentation-pictures", "augmentation", _NO_TIME_CHANGES),
    Arm("augmentation-time", "augmentation", _NO_PICTURE_CHANGES),
    Arm(
        "augmentation-strong",
        "augmentation",
        (
            "augment.shift_px=4",
            "augment.brightness=0.2",
            "augment.contrast=0.2",
            "augment.start_jitter_s=0.2",
            "augment.frame_jitter=1",
            "augment.step_noise=0.05",
        ),
    ),
    Arm("fused-0", "fused", ("loss.fused_weight=0",)),
    Arm("fused-.5", "fused", ("loss.fused_weight=0.5",)),
    Arm("episodes-.3", "rows", ("train.episode_fraction=0.3",)),
    Arm("episodes-.5", "rows", ("train.episode_fraction=0.5",)),
    Arm("episodes-.8", "rows", ("train.episode_fraction=0.8",)),
    Arm("text-on-windows", "rows", ("train.text_on_windows=true",)),
    Arm("text-on-episodes", "rows", ("train.text_on_windows=false",)),
    Arm("words-first-0", "start", ("train.vision_text_fraction=0",)),
    Arm("words-first-.15", "start", ("train.vision_text_fraction=0.15",)),
    Arm("words-first-.3", "start", ("train.vision_text_fraction=0.3",)),
    Arm("adamw-.05", "optimizer", ("train.optimizer=adamw", "train.weight_decay=0.05")),
    Arm("adamw-6", "optimizer", ("train.optimizer=adamw", "train.weight_decay=6")),
    Arm("muon-.05", "optimizer", ("train.optimizer=muon", "train.weight_decay=0.05")),
    Arm("muon-6", "optimizer", ("train.optimizer=muon", "train.weight_decay=6")),
    Arm("cosine", "metric", ("model.pair_metric=cosine",)),
    Arm("gated", "metric", ("model.pair_metric=gated",)),
    Arm("paraphrase-0", "variety", ("augment.paraphrase=0",)),
    Arm("paraphrase-.5", "variety", ("augment.paraphrase=0.5",)),
    Arm("camera-dropout-.2", "variety", ("augment.camera_dropout=0.2",)),
    Arm("erase-0", "variety", ("augment.erase=0",)),
    Arm("erase-.25", "variety", ("augment.erase=0.25",)),
    Arm("balance-goal", "variety", ("train.balance=goal",)),
)


def choose_arms(names: list[str] | None, *, sentence_encoder: str | None) -> tuple[Arm, ...]:
    """Returns the arms of some names or questions, all by default, with their overrides filled in.

    Args:
        names: of arms or questions; None takes all.
        sentence_encoder: folder of a sentence encoder; arms that need one are left out without.

    Returns:
        The arms, in the order of the table.

    Raises:
        InputError: there is no such arm or question.
    """
    known = [*QUESTIONS, *(arm.name for arm in ARMS)]
    for name in names or ():
        if name not in known:
            raise InputError(f"--arms: no arm or question '{name}'.{did_you_mean(name, known)}")
    chosen = []
    for arm in ARMS:
        if names and not {arm.name, arm.question} & set(names):
            continue
        needs_encoder = any(SENTENCE_ENCODER in override for override in arm.overrides)
        if needs_encoder and not sentence_encoder:
            print(f"{arm.name}: left out, since --sentence-encoder names no folder")
            continue
        filled = tuple(o.replace(SENTENCE_ENCODER, sentence_encoder or "") for o in arm.overrides)
        chosen.append(Arm(arm.name, arm.question, filled))
    return tuple(chosen)
