"""Prompts that are not read whole are counted by who reads them, and said wherever a prompt is given."""

from pathlib import Path

import pytest
from tiny import LENGTH, built

from fewstep.interop import LongPrompts, Pipe, open_pipe
from fewstep.interop.bridge import family_named
from fewstep.interop.readers import Reader, unread

SHORT, LONG = "a disc", "a very long prompt"  # a token is a letter


class Words:
    """A tokenizer of words."""

    def __call__(self, texts: list[str]) -> "Words":
        self.input_ids = [text.split() for text in texts]
        return self


def opened(family: str, size: int = 16) -> Pipe:
    return Pipe(built(family), family_named(family), family, (size, size))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"CLIP": 3, "T5": 9}, "2 of 3 prompts are longer than the 3 tokens that CLIP reads; T5 reads them whole"),
        ({"CLIP": 3, "T5": 4}, "2 of 3 prompts are longer than the 3 tokens that CLIP reads, 1 than the 4 of T5"),
        ({"T5": 4}, "1 of 3 prompts is longer than the 4 tokens that T5 reads"),
        ({"CLIP": 5, "T5": 5}, ""),
        ({}, ""),
    ],
)
def test_prompts_are_counted_by_reader(limits: dict[str, int], said: str) -> None:
    known = [Reader(name, Words(), most) for name, most in limits.items()]
    assert unread(known, ["one", "one two three four", "one two three four five"]) == said


def test_readers_alike_are_named_once() -> None:
    known = [Reader("CLIP", Words(), 2), Reader("CLIP", Words(), 2)]
    assert unread(known, ["one two three"]) == "1 of 1 prompts is longer than the 2 tokens that CLIP reads"


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_t5_is_counted_by_its_own_tokenizer_and_limit(family: str) -> None:
    pipe = opened(family)
    reader = pipe.family.readers(pipe.pipeline)[-1]
    reader.tokenizer.model_max_length = 40
    assert pipe.unread([SHORT, LONG]) == (
        f"1 of 2 prompts is longer than the {LENGTH} tokens that CLIP reads; T5 reads them whole"
    )
    reader.tokenizer.model_max_length = LENGTH
    assert pipe.unread([SHORT, LONG]).endswith(f", 1 than the {LENGTH} of T5")


@pytest.mark.parametrize(("family", "most"), [("sd3", 256), ("flux", 512), ("pixart", 300), ("sana", 299)])
def test_long_readers_read_what_their_pipelines_ask_for(family: str, most: int) -> None:
    pipe = opened(family)
    pipe.family.readers(pipe.pipeline)[-1].tokenizer.model_max_length = 10**6
    assert pipe.family.readers(pipe.pipeline)[-1].most == most


def test_t5_may_be_missing() -> None:
    pipe = opened("sd3")
    pipe.pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    assert pipe.unread([LONG]) == f"1 of 1 prompts is longer than the {LENGTH} tokens that CLIP reads"


@pytest.mark.parametrize("family", ["dit", "unconditional"])
def test_nobody_reads_where_there_is_no_text(family: str) -> None:
    assert opened(family).unread([LONG]) == ""


def test_prompts_warn_of_what_is_not_read(folder: Path) -> None:
    pipe = open_pipe(folder)
    with pytest.warns(LongPrompts, match=r"1 of 2 prompts is longer than the 12 tokens .* shorten"):
        rows = pipe.prompts([SHORT, LONG])
    assert rows.equal(pipe.conditions([SHORT, LONG]))
