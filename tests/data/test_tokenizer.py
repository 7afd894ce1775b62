import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jointspace.data import tokenizer as tokenizer_module
from jointspace.data.tokenizer import HubTokenizer, Tokenizer, tokenizer_from_json
from jointspace.errors import InputError, MissingExtraError, RunFolderError

TEXTS = ("Put the banana on the plate", "push the ball, gently")


@pytest.fixture
def tokenizer():
    return Tokenizer.fit(TEXTS, max_tokens=16)


def ids_of(tokenizer, text):
    ids, valid = tokenizer.encode([text])
    return ids[0][valid[0]].tolist()


def test_each_known_word_is_one_id_after_the_begin_mark(tokenizer):
    ids = ids_of(tokenizer, TEXTS[0])
    assert len(ids) == 7
    assert ids[0] == min(tokenizer.special_ids) + 2
    assert ids[2] == ids[5]
    assert len(set(ids)) == 6


def test_frequent_words_come_first(tokenizer):
    assert tokenizer.words == ("the", ",", "ball", "banana", "gently", "on", "plate", "push", "put")


def test_case_width_and_spaces_make_no_difference(tokenizer):
    assert ids_of(tokenizer, "  PUT the\n \uff42\uff41\uff4e\uff41\uff4e\uff41") == ids_of(
        tokenizer, "put the banana"
    )


def test_underscores_and_punctuation_separate_words(tokenizer):
    assert ids_of(tokenizer, "push_the_ball") == ids_of(tokenizer, "push the ball")
    assert len(ids_of(tokenizer, "ball,plate")) == 4


def test_word_order_makes_a_difference(tokenizer):
    assert ids_of(tokenizer, "the ball on the plate") != ids_of(tokenizer, "the plate on the ball")


def test_an_unknown_word_is_spelled_so_that_different_ones_differ(tokenizer):
    cup, cap = ids_of(tokenizer, "the cup"), ids_of(tokenizer, "the cap")
    assert cup != cap
    assert len(cup) == 2 + 3
    assert not set(cup) & {tokenizer.unknown_id}


def test_spelled_words_keep_their_borders(tokenizer):
    assert ids_of(tokenizer, "ab c") != ids_of(tokenizer, "a bc")


def test_a_one_letter_word_is_not_a_letter_of_another_word():
    tokenizer = Tokenizer.fit(["a cup"], max_tokens=8)
    assert ids_of(tokenizer, "a")[1] not in ids_of(tokenizer, "cat")


def test_characters_of_no_known_script_become_unknown(tokenizer):
    assert ids_of(tokenizer, "ж")[1:] == [tokenizer.unknown_id]
    learned = Tokenizer.fit(["поставь банан"], max_tokens=16)
    assert learned.unknown_id not in ids_of(learned, "бан")


def test_signs_of_scripts_without_spaces_are_words():
    tokenizer = Tokenizer.fit(["把香蕉放在盘子上"], max_tokens=16)
    assert len(tokenizer.words) == 8
    assert set(ids_of(tokenizer, "香蕉")) <= set(ids_of(tokenizer, "把香蕉放在盘子上"))


def test_the_empty_text_has_one_valid_token(tokenizer):
    ids, valid = tokenizer.encode(["", "   ", TEXTS[0]])
    assert valid.sum(axis=1).tolist() == [1, 1, 7]
    assert not ids[~valid].any()


def test_no_texts_give_no_rows(tokenizer):
    ids, valid = tokenizer.encode([])
    assert ids.shape == valid.shape == (0, 0)


@pytest.mark.parametrize("text", ["x" * 10_000, "put the ball " * 800, "\U0001f600" * 10_000])
def test_a_text_of_ten_thousand_characters_is_cut(tokenizer, text):
    ids, valid = tokenizer.encode([text])
    assert ids.shape == (1, 16)
    assert valid.all()


def test_a_monstrous_word_is_spelled_rather_than_learned():
    assert Tokenizer.fit(["y" * 41, "z" * 40], max_tokens=8).words == ("z" * 40,)


ANY_TEXT = Tokenizer.fit(TEXTS, max_tokens=16)


@settings(max_examples=30)
@given(st.lists(st.text(max_size=30), max_size=4))
def test_any_texts_give_ids_of_the_vocabulary_with_zeros_behind(texts):
    tokenizer = ANY_TEXT
    ids, valid = tokenizer.encode(texts)
    assert ids.dtype == np.int64
    assert (ids < tokenizer.vocab_size).all()
    assert (ids >= 0).all()
    assert valid.any(axis=1).all()
    assert not ids[~valid].any()
    assert (np.diff(valid.astype(int), axis=1) <= 0).all()


def test_what_may_replace_a_word_is_unknown_or_its_spelling(tokenizer):
    (ball,) = ids_of(tokenizer, "ball")[1:]
    unknown, spelled = tokenizer.replacements(ball)
    assert unknown == (tokenizer.unknown_id,)
    assert len(spelled) == 4
    assert tokenizer.replacements(spelled[0]) == ((tokenizer.unknown_id,),)
    ids = Tokenizer.fit(["plate"], max_tokens=16)
    assert tuple(ids_of(ids, "ball")[1:]) == spelled


def test_json_returns_a_tokenizer_that_encodes_alike(tokenizer):
    again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
    texts = [*TEXTS, "the unknown çup", ""]
    assert again.vocab_size == tokenizer.vocab_size
    for one, other in zip(again.encode(texts), tokenizer.encode(texts), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"kind": "magic"}, "unknown kind 'magic'"),
        ({}, "'kind' is missing"),
        ({"kind": "words", "words": []}, "'characters' is missing"),
    ],
)
def test_what_is_no_stored_tokenizer_is_refused(payload, message):
    with pytest.raises(RunFolderError, match=message):
        tokenizer_from_json(payload)


def test_room_for_no_word_is_refused():
    with pytest.raises(InputError, match="max_tokens must be at least 2"):
        Tokenizer.fit(TEXTS, max_tokens=1)


@pytest.fixture
def pretrained(tmp_path):
    """A folder with the tokenizer of a tiny pretrained encoder."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "put": 4, "ball": 5, "##s": 6}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a word
    made.normalizer = tokenizers.normalizers.BertNormalizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.enable_padding(length=12)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_a_pretrained_tokenizer_is_read_from_its_folder(pretrained):
    tokenizer = HubTokenizer.read(str(pretrained), max_tokens=6)
    ids, valid = tokenizer.encode(["Put balls", "", "robot", "put " * 5000])
    assert ids.tolist() == [
        [2, 4, 5, 6, 3, 0],
        [2, 3, 0, 0, 0, 0],
        [2, 1, 3, 0, 0, 0],
        [2, 4, 4, 4, 4, 3],
    ]
    assert valid.sum(axis=1).tolist() == [5, 2, 3, 6]
    assert tokenizer.vocab_size == 7
    assert tokenizer.special_ids == {0, 1, 2, 3}
    assert tokenizer.replacements(4) == ((1,),)


def test_a_pretrained_tokenizer_is_stored_whole(pretrained):
    tokenizer = HubTokenizer.read(str(pretrained), max_tokens=6)
    again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
    (pretrained / "tokenizer.json").unlink()
    np.testing.assert_array_equal(again.encode(["put ball"])[0], [[2, 4, 5, 3]])


def test_a_pretrained_tokenizer_takes_broken_text_and_no_text(pretrained):
    tokenizer = HubTokenizer.read(str(pretrained), max_tokens=6)
    assert tokenizer.encode(["\ud800"])[1].any()
    assert tokenizer.encode([])[0].shape == (0, 0)


def test_a_pretrained_tokenizer_without_special_ids_still_gives_one_id():
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="?"))  # noqa: S106 - a word
    tokenizer = HubTokenizer(made.to_str(), max_tokens=4)
    ids, valid = tokenizer.encode([""])
    assert ids.tolist() == [[0]]
    assert valid.tolist() == [[True]]
    assert tokenizer.replacements(0) == ()


def test_a_name_that_is_no_folder_is_looked_up_on_the_hub(pretrained, monkeypatch):
    asked = []

    def download(name):
        asked.append(name)
        return pretrained / "tokenizer.json"

    monkeypatch.setattr(tokenizer_module, "_download", download)
    assert HubTokenizer.read("someone/encoder", max_tokens=6).vocab_size == 7
    assert asked == ["someone/encoder"]


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gives no tokenizer.json .* pretrained sentence encoder"):
        HubTokenizer.read(str(tmp_path), max_tokens=6)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"not a tokenizer.json that can be read"):
        HubTokenizer.read(str(tmp_path), max_tokens=6)


def test_a_missing_package_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jointspace\[pretrained\]'"):
        HubTokenizer("{}", max_tokens=6)
