"""The arguments of every command: what `--help` shows, and all that it has to import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

Flag = FlagCreatePairsOff[bool]


def _in_order(groups: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Returns the values of an option that may be given several times, each with several."""
    return tuple(each for group in groups for each in group)


class Overriding:
    """A command whose `--set` changes keys of its configuration."""

    set: tuple[tuple[str, ...], ...]

    @property
    def overrides(self) -> tuple[str, ...]:
        """Every KEY=VALUE, in the order given."""
        return _in_order(self.set)


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Tell what is in a robot data set, and what is wrong with it."""

    dataset: Annotated[Positional[Path], arg(metavar="DATASET")]
    """Folder of the data set (LeRobot v2.0, v2.1 or v3.0), ROS 2 bag, or folder of bags."""
    videos: bool = True
    """Decode every video, to find the broken and the black ones."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Train(Overriding):
    """Train a joint space on one or several robot data sets; writes a run folder."""

    config: Annotated[Positional[Path], arg(metavar="CONFIG")]
    """TOML file, as in configs/."""
    data: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="[NAME=]DATASET")]
    """Folder of a data set; once for each data set. NAME names its robot: data sets of one name
    share its input layers."""
    out: Annotated[Path, arg(metavar="RUN")]
    """Run folder to write."""
    resume: Flag = False
    """Continue from the run folder's last checkpoint."""
    set: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="KEY=VALUE ...")] = ()
    """Change keys of the configuration: --set train.num_steps=200 seed=1."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure retrieval in every direction on held-out episodes; writes a report."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder of a training."""
    data: Annotated[Path, arg(metavar="[NAME=]DATASET")]
    """Folder of the data set. NAME names its robot in a run of several; else it is found."""
    split: str = "test"
    """Which of the run's splits to measure, by name; `all`: test and every other split that is held
    out."""
    candidates: int | None = None
    """Draw as many windows at random, to compare data sets of different sizes; all by default."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Where to write metrics, report and plots; the run folder by default, in a run of several data
    sets the data set's folder there."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Embed every window of a data set; writes a Parquet file of unit rows with their ids."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder of a training."""
    data: Annotated[Path, arg(metavar="[NAME=]DATASET")]
    """Folder of the data set. NAME names its robot in a run of several; else it is found."""
    out: Annotated[Path, arg(metavar="FILE")]
    """Parquet file to write."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Make a bundle that runs without torch: ONNX graphs, thresholds, and what int8 has lost."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder of a training."""
    out: Annotated[Path, arg(metavar="BUNDLE")]
    """Folder to write; an earlier bundle there is replaced."""
    data: Annotated[Path | None, arg(metavar="[NAME=]DATASET")] = None
    """Folder of the data set, which calibrates and measures; the run's by default."""
    precision: Literal["auto", "fp32", "int8"] = "auto"
    """auto: of each graph what is fastest here and loses no retrieval; int8 fails if it does."""
    static: Flag = False
    """Also write graphs with fixed shapes, for TensorRT."""
    threads: int = 1
    """Threads that a graph may use while it is timed."""
    candidates: int = 400
    """Windows of the test split that are measured, drawn at random."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure latency and memory on this machine, from a camera's frame to a match decision."""

    model: Annotated[Positional[Path], arg(metavar="RUN|BUNDLE")]
    """A bundle, or a run folder, which is exported in float32 for the occasion."""
    run: Annotated[Path | None, arg(metavar="RUN")] = None
    """Run folder that the bundle was exported from, to measure its torch model beside it."""
    robot: str = ""
    """Which robot, in a run of several."""
    batch: tuple[int, ...] = (1, 32)
    """Rows at a time."""
    threads: tuple[int, ...] = (1, 2)
    """Threads that a call may use."""
    seconds: float = 1.0
    """About how long each stage is measured; the whole way four times as long."""
    compile: bool = True
    """Measure torch.compile beside eager torch; compiling takes minutes."""
    plot: Annotated[Path | None, arg(metavar="FILE")] = None
    """PNG file to draw."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Save:
    """Take the trained space out of a run folder: weights, preprocessing and a model card."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder of a training; measured by `evaluate` first, its numbers go into the card."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """Folder to write; `JointSpace.from_pretrained` opens it."""
    license: str | None = None
    """Under which licence it is given away, in the hub's spelling: apache-2.0, cc-by-4.0, ..."""
    dataset: Annotated[tuple[str, ...], arg(metavar="ID ...")] = ()
    """What it was trained on, as ids on the hub; the name of the data set's folder by default."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """Upload the trained space of a run folder to the hub, with its model card."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder of a training, or a folder that `save` wrote."""
    id: Annotated[Positional[str], arg(metavar="OWNER/NAME")]
    """Id of the model on the hub; made if it is missing. Log in first: `hf auth login`."""
    private: Flag = False
    """Make the model private, if it is made."""
    revision: str | None = None
    """Branch to upload to; the main one by default."""
    license: str | None = None
    """Under which licence it is given away, in the hub's spelling: apache-2.0, cc-by-4.0, ..."""
    dataset: Annotated[tuple[str, ...], arg(metavar="ID ...")] = ()
    """What it was trained on, as ids on the hub; the name of the data set's folder by default."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Simulate:
    """Make a LeRobot data set of expert episodes on the simulated tabletop."""

    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """Folder to make."""
    episodes: int = 300
    """Episodes of all splits together."""
    seed: int = 0
    """The same seed and versions give the same bytes."""
    cameras: Annotated[str, arg(metavar="NAME[,NAME]")] = "front"
    """Cameras of the scene: front, wrist, or front,wrist."""
    px: int = 96
    """Side of the square pictures; an even number."""
    samples: int = 2
    """Rays along each side of a pixel at edges: 1 is twice as fast, 2 is smooth."""
    workers: int = 2
    """Processes that simulate at the same time."""
    noisy: float = 0.1
    """Share of the episodes whose expert's hand shakes; some of them fail, and are labelled so."""
    renderer: Literal["ray", "gl"] = "ray"
    """ray needs nothing but a processor; gl an OpenGL library."""
    bag: Annotated[tuple[Path, ...] | None, arg(metavar="[DIR]")] = None
    """Write the episodes as ROS 2 bags too (rosbag2 MCAP), a folder each: into OUT/bags, or DIR."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Run a policy on the simulated tabletop, in closed loop, beside floors and the expert."""

    policy: Annotated[Positional[str], arg(metavar="POLICY")] = "expert"
    """expert, no-op, random, other-goal, or your own: module:factory or path/to/file.py:factory."""
    episodes: int = 25
    """Episodes per skill."""
    seed: int = 0
    """Every policy meets the same scenes and goals."""
    cameras: Annotated[str, arg(metavar="NAME[,NAME]")] = ""
    """Pictures in the policy's observation: front, wrist, or front,wrist; none by default."""
    px: int = 96
    """Side of the square pictures."""
    references: bool = True
    """Run the floors (no-op, random, another goal's expert) and the expert beside the policy."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Learn:
    """Make a retrieval policy: demonstrations that a robot looks its moments up in."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder of a training; its rows of the instructions are what the policy is told."""
    data: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="DATASET")]
    """Folder of a data set of demonstrations; once for each.

    Failures and held-out splits are left out."""
    out: Annotated[Path, arg(metavar="POLICY")]
    """Folder to write."""
    steps: int = 4500
    """Steps of the small network in whose rows demonstrations are compared."""
    stride: int = 1
    """Steps of an episode from one moment to the next."""
    seed: int = 0
    """Of visual words, network and noise."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Simulate, train, evaluate and report: everything at once, on nothing but a processor."""

    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/demo")
    """Folder for the data set, the run and the report; a demo that was interrupted continues."""
    data: Annotated[Path | None, arg(metavar="DATASET")] = None
    """A LeRobot data set of your own, instead of the simulated one."""
    fast: Flag = False
    """A smoke run in under a minute: does everything work? Its space is worth nothing."""
    seed: int = 0
    """Of the simulated data and of the training."""
    workers: int = 2
    """Processes that simulate at the same time."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class RobotRun(Overriding):
    """Drive a robot with a bundle over ROS 2's network; needs no ROS."""

    bundle: Annotated[Positional[Path], arg(metavar="BUNDLE")]
    """Folder that `export` wrote."""
    config: Annotated[Path | None, arg(metavar="FILE")] = None
    """TOML file with topics, limits, timeouts and the decoder; see docs/how-to/robot-run.md."""
    set: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="KEY=VALUE ...")] = ()
    """Change keys of the configuration: --set decoder=velocity image_timeout_s=0.3."""
    domain_id: int | None = None
    """DDS domain; that of the configuration or of ROS_DOMAIN_ID by default."""
    loopback: Flag = False
    """Stay on this machine, without multicast; as ROS_LOCALHOST_ONLY=1 does."""
    namespace: str = "/"
    """Where the node and its relative topics are."""
    name: str = "jointspace"
    """Name of the node."""
    remap: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="FROM:=TO ...")] = ()
    """Rename topics: --remap camera/image_rect_color:=/front/image_raw."""
    json: Flag = False
    """Print one JSON object on standard output when it ends."""

    @property
    def remappings(self) -> tuple[str, ...]:
        """Every FROM:=TO, in the order given."""
        return _in_order(self.remap)


@dataclass(frozen=True, kw_only=True)
class RobotReplay(Overriding):
    """Run a robot on a bag of ROS 2, its clock the bag's: the same result each time."""

    bag: Annotated[Positional[Path], arg(metavar="BAG")]
    """Folder of rosbag2, or a .mcap or .db3 file."""
    bundle: Annotated[Path, arg(metavar="BUNDLE")]
    """Folder that `export` wrote."""
    out: Annotated[Path | None, arg(metavar="OUT", aliases=["-o"])] = None
    """Write what the robot says as a bag, or every decision and percept as lines (OUT.jsonl)."""
    config: Annotated[Path | None, arg(metavar="FILE")] = None
    """TOML file, as of `robot run`; topics that it does not name are found in the bag."""
    set: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="KEY=VALUE ...")] = ()
    """Change keys of the configuration: --set decoder=velocity image_timeout_s=0.3."""
    say: Annotated[str, arg(metavar="TEXT")] = ""
    """A command that is said instead of those in the bag."""
    latency_ms: float = 0.0
    """How long perception takes: a network of that speed, whatever this machine's."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class RobotRollout(Overriding):
    """Run a configured robot on the simulated tabletop: success with its limits and timeouts."""

    bundle: Annotated[Positional[Path], arg(metavar="BUNDLE")]
    """Folder that `export` wrote."""
    config: Annotated[Path | None, arg(metavar="FILE")] = None
    """TOML file, as of `robot run`; configs/robot/arm.toml fits the tabletop."""
    set: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="KEY=VALUE ...")] = ()
    """Change keys of the configuration: --set policy=runs/demo/policy image_timeout_s=0.3."""
    episodes: int = 25
    """Episodes per skill."""
    skills: Annotated[str, arg(metavar="NAME[,NAME]")] = ""
    """Only these, as in lift,put; all by default."""
    seed: int = 0
    """Every policy meets the same scenes and goals."""
    unseen_wording: Flag = False
    """Say it in wordings that are never trained on."""
    latency_ms: float = 0.0
    """How long perception takes: a network of that speed, whatever this machine's."""
    picture_delay_ms: float = 0.0
    """How long pictures travel from camera to robot."""
    px: int | None = None
    """Side of the cameras' square pictures; what the bundle sees by default."""
    samples: int = 1
    """Rays along each side of a pixel at edges, as in the data that the bundle knows."""
    references: bool = True
    """Run floors, the expert, and the policy without the robot's limits beside it."""
    json: Flag = False
    """Print one JSON object on standard output."""


Arguments = (
    Inspect
    | Train
    | Evaluate
    | Embed
    | Export
    | Bench
    | Save
    | Push
    | Simulate
    | Rollout
    | Learn
    | Demo
    | RobotRun
    | RobotReplay
    | RobotRollout
)
