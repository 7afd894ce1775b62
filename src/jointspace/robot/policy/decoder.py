"""The decoder `retrieval`: a robot acts by demonstrations, on the clock of its pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jointspace.errors import ConfigError, InputError
from jointspace.robot.configuration import RobotConfig
from jointspace.robot.core.percept import ActionChunk, Percept, StateWindow
from jointspace.robot.policy.folder import load_demonstrations
from jointspace.robot.policy.retrieval import Demonstrations, EmbedTexts, RetrievalPolicy

_HALF_STEP = 0.5
"""Pictures and states are never quite on time: a step is where it is nearest to."""


class RetrievalDecoder:
    """Gives the retrieval policy pictures, states and text as in the demonstrations.

    The policy remembers motion step by step. So it is fed one state for each step of its `fps`,
    counted from the first picture after `reset`: the one that came nearest to that time. After
    `replan_steps` of a chunk it looks again; the rest of a chunk bridges the time that this takes.
    Where perception is so slow that the rest would not, it looks again sooner.

    Args:
        demonstrations: from `load_demonstrations`.
        embed_texts: the text tower, for a percept that has no row of its command.
        replan_steps: of a chunk, before the next look.

    Raises:
        InputError: `replan_steps` is below 1, or above the steps of a chunk.
    """

    needs_state = True
    moves = True

    def __init__(
        self, demonstrations: Demonstrations, *, embed_texts: EmbedTexts, replan_steps: int = 5
    ) -> None:
        self._own = demonstrations
        self._embed_texts = embed_texts
        self._replan_steps = replan_steps
        self._policy = RetrievalPolicy(
            demonstrations, embed_texts=embed_texts, replan_steps=replan_steps
        )
        self._command: int | None = None
        self._felt_s: float | None = None
        self._asked_s: float | None = None
        self._chunk: ActionChunk | None = None

    def reset(self) -> None:
        """Forgets motion, command and chunk."""
        self._command = None
        self._start_anew()

    def decode(self, percept: Percept) -> ActionChunk | None:
        """Goes on with the chunk, or looks again.

        Args:
            percept: with command and pictures.

        Returns:
            The actions from the time of the pictures on; None before there is a state.

        Raises:
            InputError: there is no command, the state is too short, or a camera's picture is
                missing or has another size than the demonstrations.
        """
        if percept.command is None:
            raise InputError("retrieval decoder: the percept has no command")
        if percept.states is None:
            return None
        wanted = max(self._own.layout.state) + 1
        if percept.states.values.shape[1] < wanted:
            raise InputError(
                f"retrieval decoder: got a state of {percept.states.values.shape[1]} numbers, "
                f"expected at least {wanted}, in the order of the demonstrations; see state_names"
            )
        if percept.command.number != self._command:
            self._start_anew()
            text = percept.text
            self._policy.tell(
                self._embed_texts([percept.command.text])[0] if text is None else text
            )
            self._command = percept.command.number
        self._feel(percept.states, percept.frame_s)
        now_s = float(percept.states.time_s[-1])
        since_s = 0.0 if self._asked_s is None else now_s - self._asked_s
        self._asked_s = now_s
        if self._chunk is not None:
            passed = (percept.frame_s - self._chunk.start_s) * self._own.fps
            # What the next look finds takes effect two looks from now, at the latest; and now is up
            # to a step later than the newest state.
            needed = (now_s + 2 * since_s - self._chunk.start_s) * self._own.fps + 1
            lasts = needed < len(self._chunk.values) + _HALF_STEP
            if passed < self._replan_steps - _HALF_STEP and lasts:
                return self._chunk
        pictures = {_short(camera): picture for camera, picture in percept.pictures.items()}
        self._chunk = ActionChunk(
            values=self._policy.chunk(pictures), rate_hz=self._own.fps, start_s=percept.frame_s
        )
        return self._chunk

    def _start_anew(self) -> None:
        self._policy.start()
        self._felt_s = None
        self._asked_s = None
        self._chunk = None

    def _feel(self, states: StateWindow, until_s: float) -> None:
        """Feeds the steps from the last one to now; what lies before the window is a gap."""
        step_s = 1 / self._own.fps
        lost_s = -np.inf if self._felt_s is None else states.time_s[0] - (self._felt_s + step_s)
        if lost_s > _HALF_STEP * step_s:
            self._start_anew()
        if self._felt_s is None:
            self._feel_at(states, until_s)
        while self._felt_s is not None and until_s - self._felt_s >= _HALF_STEP * step_s:
            self._feel_at(states, self._felt_s + step_s)

    def _feel_at(self, states: StateWindow, time_s: float) -> None:
        nearest = int(np.abs(states.time_s - time_s).argmin())
        self._policy.feel(states.values[nearest])
        self._felt_s = time_s


def open_retrieval_decoder(
    config: RobotConfig, *, cameras: Sequence[str], model_id: str, embed_texts: EmbedTexts
) -> RetrievalDecoder:
    """Reads the policy that the configuration names, and checks that it fits the robot.

    Args:
        config: `policy`, and the channels that it moves.
        cameras: whose pictures percepts have.
        model_id: of the bundle.
        embed_texts: of the bundle.

    Returns:
        The decoder.

    Raises:
        ConfigError: the policy was learned with another joint space, needs another camera, has
            another number of channels, or another rate than `control_rate_hz`.
        RunFolderError: the policy cannot be read.
    """
    own = load_demonstrations(Path(config.policy))
    if own.model_id != model_id:
        raise ConfigError(
            f"policy: '{config.policy}' was learned with the joint space {own.model_id[:12]}, "
            f"expected {model_id[:12]} as in the bundle; run 'jointspace learn' with the run that "
            "the bundle was exported from"
        )
    missing = set(own.cameras) - {_short(camera) for camera in cameras}
    if missing:
        raise ConfigError(
            f"cameras: got {', '.join(cameras)}, expected also {', '.join(sorted(missing))}: the "
            "policy needs it"
        )
    if len(config.channels) != own.layout.action_dim:
        raise ConfigError(
            f"channels: got {len(config.channels)}, expected {own.layout.action_dim}, one for each "
            "number of the policy's actions, in their order"
        )
    if config.control_rate_hz != own.fps:
        raise ConfigError(
            f"control_rate_hz: got {config.control_rate_hz:g}, expected {own.fps:g} as in the "
            "demonstrations: an action says how far to move in one step, and each message is one"
        )
    return RetrievalDecoder(own, embed_texts=embed_texts)


def _short(camera: str) -> str:
    """Returns a camera's name without those of the data set around it."""
    return camera.rsplit(".", maxsplit=1)[-1]
