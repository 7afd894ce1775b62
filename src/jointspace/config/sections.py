"""What can be configured: frozen dataclasses, every key with a default."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What a row of training data is.

    Attributes:
        image_px: side of the square picture that the vision tower sees.
        cameras: cameras to use; empty means all.
        window_s: length of a window.
        stride_s: distance between the starts of training windows; evaluation windows do not
            overlap.
        window_frames: pictures per window; 1 is the picture at its start, more are spread evenly
            over it.
        episode_frames: pictures per whole-episode row, spread evenly over the episode.
        max_tokens: instructions are cut to this many tokens.
        split: hold out whole episodes (`episode`) or whole instructions (`instruction`), or take
            the splits that the data set ships (`shipped`); `auto` takes those where every episode
            names one and some are held out, else holds out episodes.
        validation_fraction: share of the episodes (or instructions) that early stopping looks at;
            of the training episodes where the data set ships splits, but none for validation.
        test_fraction: share held out for `evaluate`; not read where the data set's splits are
            taken.
        split_seed: which episodes are held out.
        failures: what becomes of episodes that the data set labels as failed: `leave-out` neither
            trains nor measures on them, `keep` treats them as any other.
        mixture_weights: where several data sets are trained on, the share of the steps that each
            gets, in the order of `--data`, up to a common factor; empty gives each as many.
    """

    image_px: int = 64
    cameras: tuple[str, ...] = ()
    window_s: float = 1.0
    stride_s: float = 0.2
    window_frames: int = 1
    episode_frames: int = 8
    max_tokens: int = 64
    split: Literal["auto", "shipped", "episode", "instruction"] = "auto"
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0
    failures: Literal["leave-out", "keep"] = "leave-out"
    mixture_weights: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The vision tower: what reads one picture, and what reads the pictures of a row together.

    Attributes:
        tower: `convolution` is trained from scratch and keeps the grid (`encoders/vision.py`);
            `pretrained` is a network of `transformers` with an adapter behind it.
        channels: of the convolutions; each halves the side.
        stem_stride: how many pixels the first convolution steps on: 4 costs about half of 2.
        pooling: over the pictures of a row: `frequency` reads each camera's pictures at their
            lowest frequencies in time, `attention` averages them by a learned query.
        temporal_layers: transformer blocks over the pictures, before pooling and fusion.
        pretrained: folder or hub id of the pretrained network; read when `tower` is "pretrained",
            as are the keys below. `data.image_px` must be a size that it reads.
        trainable: what of it is trained.
        num_trainable_layers: how many layers `last-layers` trains.
        grid: its patches are averaged into so many cells a side; 0 reads its summary alone.
        cache_features: keep what a frozen network makes of every picture on disk, in this type, so
            that it reads each picture once. Pictures cannot be augmented then.
    """

    tower: Literal["convolution", "pretrained"] = "convolution"
    channels: tuple[int, ...] = (16, 32, 64)
    width: int = 256
    stem_stride: Literal[2, 4] = 2
    pooling: Literal["frequency", "attention"] = "frequency"
    temporal_layers: int = 0
    dropout: float = 0.1
    pretrained: str = "google/siglip2-base-patch16-224"
    trainable: Literal["frozen", "last-layers", "full"] = "frozen"
    num_trainable_layers: int = 2
    grid: int = 4
    cache_features: Literal["off", "float16", "float32"] = "off"


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text tower: trained from scratch, or a pretrained sentence encoder.

    `pretrained` is the folder or hub id of the sentence encoder; it is read when `tower` is
    "sentence", as are `trainable` (what of it is trained) and `num_trainable_layers` (how many
    layers `last-layers` trains). `pooling` over the words: `attention+max` adds each channel's
    maximum over the words, so that a rare word is not averaged away; it learns composed
    instructions sooner. What it reads of a sentence encoder's tokens is added to the vector that
    the encoder makes of the whole sentence.
    """

    tower: Literal["transformer", "sentence"] = "transformer"
    width: int = 128
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    word_dropout: float = 0.15
    pooling: Literal["attention", "attention+max"] = "attention"
    pretrained: str = "sentence-transformers/all-MiniLM-L6-v2"
    trainable: Literal["frozen", "last-layers", "full"] = "frozen"
    num_trainable_layers: int = 2


@dataclass(frozen=True, kw_only=True)
class TrajectoryConfig:
    """The tower of one kind of continuous steps (actions, state or another sensor).

    Attributes:
        tower: `frequency` (DCT of the time-resampled steps), `transformer` (time codes in seconds)
            or `convolution` (dilated, for streams); `command` for a single continuous command;
            `discrete` and `sequence` for integer actions.
        num_coefficients: coefficients kept by `frequency`.
        num_actions: size of the discrete action set, read by `discrete` and `sequence`.
    """

    tower: Literal["frequency", "transformer", "convolution", "command", "discrete", "sequence"] = (
        "frequency"
    )
    width: int = 256
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    num_coefficients: int = 10
    num_actions: int = 0


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which joint model, and its towers.

    Attributes:
        name: `vision-language` (CLIP-like), `vision-language-action`, or `efficient` (real time).
        embed_dim: width of the joint space.
        sensors: further modalities beside vision, text and action: `state` (left out where the
            data set records none), or a feature's name.
        fusion: how fused queries (such as vision+text -> action) are made; `none` builds no fusion.
        pair_metric: how rows of two modalities are compared: `cosine`, or `gated`, the cosine after
            each dimension was multiplied by what the pair has learned that it counts. One vector
            per row either way.
    """

    name: Literal["vision-language", "vision-language-action", "efficient"] = (
        "vision-language-action"
    )
    embed_dim: int = 128
    sensors: tuple[str, ...] = ("state",)
    fusion: Literal["none", "early", "late", "three-way"] = "late"
    pair_metric: Literal["cosine", "gated"] = "cosine"
    fusion_layers: int = 1
    fusion_heads: int = 4
    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    action: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    sensor: TrajectoryConfig = field(default_factory=TrajectoryConfig)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What training minimises.

    Attributes:
        positives: `ids` (rows of one goal, which paraphrases share, are positives of each other
            where text is involved) or `diagonal` (each row only itself, as in the textbook).
        name: `contrastive` (InfoNCE), `sigmoid` (each pair by itself, as in SigLIP) or `triplet`.
        ignore: wrong answers to a query that is no text that are left out, each on top of the one
            before it: `none`; `overlap`, windows of the same episode that overlap in time;
            `instruction`, rows of the same instruction; `goal`, rows of the same goal.
        normalisation: `out` averages the log-likelihood over positives, `in` takes the likelihood
            of their sum; of the contrastive loss.
        mining: triplet negatives.
        margin: of the triplet loss.
        soft_margin: whether the triplet loss fades smoothly instead of ending at the margin.
        tile_rows: side of the tiles in which losses are computed; 0 chooses by the number of rows.
            It changes memory and time, not the loss.
        fused_weight: weight of the fused queries' term; 0 leaves fusion untrained.
        fused_queries_per_step: how many of the fused queries, drawn at random, a step trains;
            0 trains all.
        modality_dropout: probability that a fused query loses each of its modalities (never the
            last).
        initial_temperature: of every pair, learned from there.
        max_logit_scale: clamp of the learned inverse temperature.
        initial_bias: of every pair, learned from there; of the sigmoid loss.
    """

    name: Literal["contrastive", "sigmoid", "triplet"] = "contrastive"
    positives: Literal["ids", "diagonal"] = "ids"
    ignore: Literal["none", "overlap", "instruction", "goal"] = "overlap"
    normalisation: Literal["out", "in"] = "out"
    mining: Literal["semi-hard", "hard", "all"] = "semi-hard"
    margin: float = 0.2
    soft_margin: bool = False
    tile_rows: int = 0
    fused_weight: float = 0.5
    fused_queries_per_step: int = 2
    modality_dropout: float = 0.2
    initial_temperature: float = 0.07
    max_logit_scale: float = 100.0
    initial_bias: float = -10.0


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes to training rows; never flips, since left and right are in the language.

    Attributes:
        frame_jitter: how far each picture of a clip may move, as a share of the distance to its
            neighbour (half to each side); the single picture of a window stays at its start.
        frame_fraction: share of the pictures of a clip that a training row has, at least two of
            them, spread evenly; other ones each time, by `frame_jitter`. Steps cost less, and
            evaluation, which reads all of them, sees more.
        erase: side of a square that turns grey at a random place, the same in all pictures of a
            row's camera, as a share of their side; a part of it may lie outside.
        camera_dropout: probability that a row loses each of its cameras (never the last).
        paraphrase: probability that a row is told another wording of its goal, one of those that
            the training episodes have.
    """

    shift_px: int = 4
    brightness: float = 0.2
    contrast: float = 0.2
    start_jitter_s: float = 0.1
    frame_jitter: float = 0.5
    frame_fraction: float = 1.0
    step_noise: float = 0.02
    erase: float = 0.0
    camera_dropout: float = 0.0
    paraphrase: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How training runs.

    Attributes:
        episode_fraction: share of the steps whose rows are whole episodes; the others are windows.
        pretrained_factor: what the learning rate is multiplied by for pretrained networks that are
            trained through (`trainable`); their adapters learn at the rate of all others.
        vision_text_fraction: share of the steps, at the start, that train vision and text alone, on
            whole episodes; a step without pictures or two texts trains all that there is. What
            words mean in pictures, colours above all, is learned late or never once motions shape
            the vision tower.
        gate_factor: what the learning rate is multiplied by for the gates of `model.pair_metric`,
            which must move far from 1 while weights move a little.
        balance: `goal` draws from every goal of a data set equally often, however many rows it has;
            rows without a goal are together one more. `none` draws every row equally often.
        text_on_windows: whether windows also train the pairs with text; where instructions say what
            happens in a whole episode, a window of it often does not show.
        evaluate_every: steps between evaluations on the validation split; each is followed by a
            checkpoint.
        patience: evaluations without a better worst direction before training stops early; 0 never
            stops.
        precision: `bf16` runs the towers under autocast; `auto` chooses it where the processor has
            it.
        num_threads: torch's intra-op threads; 0 leaves torch's default, and gives each of several
            processes its part of the machine's cores.
        batch_size: rows of a step, of all processes together.
        chunk_rows: rows of a process that are in memory with their graph at a time (gradient
            caching): the same loss and gradient for half more time; 0 holds all at once.
        optimizer: `muon` steps the matrices of fresh networks along their orthogonalised momentum,
            and all else by AdamW. It learns the training rows in about half the steps, and some of
            them by heart, unless `learning_rate * weight_decay` is about .01.
        start_from: run folder whose weights the training starts from; empty starts anew.
        trainable: `adapters` trains the input layers of the robots that `start_from` has not seen,
            the codes of their cameras and what reads these over time, and leaves every other weight
            as it is.
    """

    num_steps: int = 600
    batch_size: int = 128
    chunk_rows: int = 0
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.98
    warmup_steps: int = 50
    clip_norm: float = 1.0
    pretrained_factor: float = 0.02
    gate_factor: float = 10.0
    episode_fraction: float = 0.25
    vision_text_fraction: float = 0.0
    balance: Literal["none", "goal"] = "none"
    text_on_windows: bool = True
    evaluate_every: int = 100
    patience: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    num_threads: int = 0
    start_from: str = ""
    trainable: Literal["all", "adapters"] = "all"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that `jointspace train` reads; stored whole as `config.toml` in the run folder."""

    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
