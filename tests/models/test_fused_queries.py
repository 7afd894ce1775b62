from jointspace.batch import ACTION, STATE, TEXT, VISION
from jointspace.models.fused_queries import fused_queries_of
from tests.models.batches import FORCE


def test_fused_queries_are_every_two_of_vision_text_and_steps_and_all_steps_together():
    queries = fused_queries_of((VISION, TEXT, ACTION, STATE, FORCE))
    asked = [(query.name, query.target) for query in queries]
    assert asked == [
        (f"{a}+{b}", target)
        for further in (ACTION, STATE, FORCE)
        for a, b, target in (
            (VISION, TEXT, further),
            (VISION, further, TEXT),
            (TEXT, further, VISION),
        )
    ] + [(f"{ACTION}+{STATE}+{FORCE}", target) for target in (TEXT, VISION)]


def test_without_text_only_the_robots_own_modalities_together_are_a_query():
    queries = fused_queries_of((VISION, ACTION, STATE))
    assert [(query.name, query.target) for query in queries] == [("action+state", VISION)]
    assert fused_queries_of((VISION, TEXT)) == ()


def test_a_single_modality_is_no_query():
    queries = fused_queries_of((VISION, TEXT, ACTION))
    assert [query.name for query in queries] == ["vision+text", "vision+action", "text+action"]
