"""The tokenizers of pocket pipelines are genuine, small, and know every word of the captions."""

from pathlib import Path
from typing import Any

import pytest

from fewstep.data import Shapes
from fewstep.interop.pocket import clip_tokenizer, t5_tokenizer, vocabulary

MAKERS = pytest.mark.parametrize("make", [clip_tokenizer, t5_tokenizer])


@MAKERS
def test_every_word_is_one_token(make: Any) -> None:
    tokenizer = make(40)
    assert {word for word in vocabulary() if len(tokenizer.tokenize(word)) != 1} == set()
    assert len(tokenizer) < 1000


@MAKERS
@pytest.mark.parametrize(("size", "tokens"), [(16, 24), (64, 40)])
def test_every_caption_fits(make: Any, size: int, tokens: int) -> None:
    tokenizer = make(tokens)
    captions = Shapes(size).captions_of(range(500))
    assert max(len(ids) for ids in tokenizer(captions).input_ids) <= tokens
    assert tokenizer.unk_token_id not in tokenizer(captions[0], add_special_tokens=False).input_ids


@MAKERS
def test_words_survive_tokens(make: Any) -> None:
    tokenizer = make(40)
    for caption in Shapes(64).captions_of(range(50)):
        again = tokenizer.decode(tokenizer(caption).input_ids, skip_special_tokens=True)
        assert again.replace(" ,", ",") == caption


@MAKERS
def test_tokenizers_survive_saving(make: Any, tmp_path: Path) -> None:
    tokenizer = make(24)
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    texts = ["", "a red circle left of a blue square", "Eine Zebraherde, 3 x!"]
    assert again.model_max_length == 24
    padded = [each(texts, padding="max_length", truncation=True).input_ids for each in (tokenizer, again)]
    assert padded[0] == padded[1]
    assert {len(ids) for ids in padded[0]} == {24}


def test_clip_spells_what_it_does_not_know() -> None:
    tokenizer = clip_tokenizer(40)
    assert tokenizer.tokenize("zebra red") == ["z", "e", "b", "r", "a</w>", "red</w>"]
    assert tokenizer.decode(tokenizer("éa ß").input_ids, skip_special_tokens=True) == "éa ß"
