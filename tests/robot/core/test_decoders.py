"""From commands to velocities, and the decoder that never moves."""

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.robot.configuration_file import robot_config
from jointspace.robot.core.decoder import ActionDecoder
from jointspace.robot.core.decoders import build_decoder
from jointspace.robot.core.decoders.none import NoneDecoder
from jointspace.robot.core.decoders.velocity import VelocityDecoder, spoken_name
from jointspace.robot.core.percept import ActionChunk, Command, Percept
from tests.robot.stand_ins import VELOCITY, FakeEmbedder

VELOCITIES = {"forward": (0.4, 0.0), "turn left": (0.0, 0.8), "turn right": (0.0, -0.8)}


def decoded(decoder, text, row=None):
    chunk = decoder.decode(Percept(frame_s=3.0, command=Command(1, text, 0.0), text=row))
    return None if chunk is None else chunk.at(3.2).tolist()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *((text, "forward") for text in ("forward", "Go forward!", "please drive straight ahead")),
        *((text, "forward") for text in ("move forwards now", "Robot, forward right now", "ahead")),
        *((text, "turn left") for text in ("turn left", "rotate left", "Spin left, please")),
        *((text, "turn right") for text in ("turn right", "turn right now", "turn right, robot")),
    ],
)
def test_a_named_command_has_the_velocity_of_its_name(text, name):
    assert decoded(VelocityDecoder(VELOCITIES), text) == list(VELOCITIES[name])


@pytest.mark.parametrize("text", ["left", "forward left", "dance", "turn", "do not go forward"])
def test_a_command_that_is_no_name_has_no_velocity(text):
    assert decoded(VelocityDecoder(VELOCITIES), text) is None


def unit(*values):
    return (np.array(values) / np.linalg.norm(values)).astype(np.float32)


def embed_names(texts):
    return np.stack([unit(1, 0, 0), unit(0, 1, 0), unit(0.3, 0, 1)])[: len(texts)]


def test_a_sentence_has_the_velocity_of_the_nearest_name():
    decoder = VelocityDecoder(VELOCITIES, embed_texts=embed_names, min_similarity=0.9)
    assert decoded(decoder, "roll onwards a bit", unit(1, 0.1, 0)) == [0.4, 0.0]
    assert decoded(decoder, "roll onwards a bit", unit(1, 1, 0)) is None


def test_a_sentence_that_is_near_to_two_velocities_has_none():
    decoder = VelocityDecoder(VELOCITIES, embed_texts=embed_names, min_similarity=0.6)
    assert decoded(decoder, "onwards", unit(1, 1, 0)) is None
    same = {"forward": (0.4, 0.0), "cruise": (0.4, 0.0)}
    decoder = VelocityDecoder(same, embed_texts=embed_names, min_similarity=0.6)
    assert decoded(decoder, "onwards", unit(1, 1, 0)) == [0.4, 0.0]


@pytest.mark.parametrize("text", ["do not go forward", "don't drive ahead", "never go forward"])
def test_a_sentence_that_denies_a_name_does_not_have_its_velocity(text):
    decoder = VelocityDecoder(VELOCITIES, embed_texts=embed_names, min_similarity=0.9)
    assert decoded(decoder, text, unit(1, 0, 0)) is None


def test_a_velocity_goes_on_while_its_percept_does():
    chunk = VelocityDecoder(VELOCITIES).decode(
        Percept(frame_s=3.0, command=Command(1, "forward", 0.0))
    )
    assert chunk.at(1000.0).tolist() == [0.4, 0.0]


def test_names_that_are_missing_or_mean_the_same_are_refused():
    with pytest.raises(InputError, match="got no named velocities"):
        VelocityDecoder({})
    with pytest.raises(InputError, match="'go ahead' means the same"):
        VelocityDecoder({"forward": (1.0,), "go ahead": (2.0,)})
    with pytest.raises(InputError, match="has no command"):
        VelocityDecoder(VELOCITIES).decode(Percept(frame_s=0.0))


def test_spoken_names_are_the_words_that_matter():
    assert spoken_name("Please DRIVE straight ahead!") == "forward"
    assert spoken_name("please go back") == spoken_name("Reverse") == "backward"


def test_the_configuration_chooses_the_decoder():
    velocity = build_decoder(robot_config(VELOCITY), FakeEmbedder(), cameras=())
    assert isinstance(velocity, VelocityDecoder)
    none = build_decoder(robot_config({"decoder": "none"}), FakeEmbedder(), cameras=())
    assert isinstance(none, NoneDecoder)
    assert none.decode(Percept(frame_s=0.0)) is None
    assert all(isinstance(each, ActionDecoder) for each in (velocity, none))


def test_a_chunk_is_read_step_by_step_and_ends():
    chunk = ActionChunk(values=np.array([[1.0], [2.0], [3.0]]), rate_hz=10.0, start_s=5.0)
    times_s = (4.0, 5.0, 5.05, 5.1, 5.2, 5.29)
    assert [chunk.at(time_s)[0] for time_s in times_s] == [1, 1, 1, 2, 3, 3]
    assert chunk.at(5.3) is None
    assert chunk.at(1e300) is None


def test_steps_are_not_skipped_or_doubled_by_rounding():
    values = np.arange(50.0)[:, None]
    chunk = ActionChunk(values=values, rate_hz=10.0, start_s=0.1)
    assert [chunk.at(0.1 + step * 0.1)[0] for step in range(50)] == list(range(50))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rate_hz": 0.0}, "rate 0.0 Hz"),
        ({"rate_hz": float("nan")}, "rate nan Hz"),
        ({"start_s": float("inf")}, "from inf s"),
        ({"values": np.zeros((0, 2))}, "got no steps"),
    ],
)
def test_a_chunk_without_steps_rate_or_time_is_refused(changes, match):
    with pytest.raises(InputError, match=match):
        ActionChunk(**{"values": np.zeros((1, 2)), "rate_hz": 1.0, "start_s": 0.0, **changes})
