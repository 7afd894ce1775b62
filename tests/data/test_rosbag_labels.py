from jointspace.data.rosbag_labels import read_labels


def test_labels_are_read_as_they_were_written():
    labels = read_labels(
        {
            "episode": "7",
            "instruction": " push it ",
            "success": "True",
            "factors": '{"skill": "push", "count": 2}',
            "other_instructions": '["shove it"]',
            "something": "else",
        }
    )
    assert (labels.episode, labels.instruction, labels.success) == (7, "push it", True)
    assert labels.factors == {"skill": "push", "count": "2"}
    assert labels.other_instructions == ("shove it",)
    assert labels.odd == ()


def test_a_recording_without_labels_says_nothing():
    labels = read_labels({})
    assert (labels.episode, labels.instruction, labels.success, labels.odd) == (None, "", None, ())


def test_what_is_no_json_or_of_another_kind_is_told_and_not_used():
    for factors, others in (("[1]", '{"a": 1}'), ("push the block", "shove it"), ("3", "4")):
        labels = read_labels({"factors": factors, "other_instructions": others})
        assert labels.odd == ("factors", "other_instructions")
        assert (labels.factors, labels.other_instructions) == ({}, ())
