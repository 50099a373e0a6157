import pytest

from fewstep.data import ImageFolder
from fewstep.errors import DataError


@pytest.fixture
def four(paint):
    for name in ("0.png", "1.png", "2.png", "more/3.png"):
        paint(name)


NAMES = ("more/3.png", "./2.png", "1.png", "0.png")


def lines(key: str, *values: object) -> list[dict[str, object]]:
    return [{"file_name": name, key: value} for name, value in zip(NAMES, values, strict=True)]


def test_labels_become_classes_in_numerical_order(four, metadata):
    data = ImageFolder.open(metadata(*lines("label", 2, 10, "2", 9)))
    assert data.classes == ("2", "9", "10")
    assert data.batch(range(4)).c.tolist() == [1, 0, 2, 0]
    assert data.describe()["condition"] == "3 classes from metadata.jsonl: 2, 9, 10"


def test_names_become_classes_in_alphabetical_order(four, metadata):
    data = ImageFolder.open(metadata(*lines("label", "dog", "cat", "cat", "dog")))
    assert data.classes == ("cat", "dog")
    assert data.batch(range(4)).c.tolist() == [1, 0, 0, 1]


def test_repeated_captions_become_classes(four, metadata):
    data = ImageFolder.open(metadata(*lines("text", "a dog", "a cat", "a cat", "a dog")))
    assert data.classes == ("a cat", "a dog")
    assert data.captions == ("a dog", "a cat", "a cat", "a dog")
    assert data.batch(range(4)).c.tolist() == [1, 0, 0, 1]


def test_captions_that_rarely_repeat_are_no_classes(four, metadata):
    data = ImageFolder.open(metadata(*lines("text", "a", "b", "c", "c")))
    assert data.classes == ()
    assert data.captions == ("c", "c", "b", "a")
    assert "3 distinct captions for 4 images" in data.describe()["condition"]
    assert data.batch([0]).c is None


@pytest.mark.parametrize("blank", ["", " \n"])
def test_blank_caption_is_none(four, metadata, blank):
    with pytest.raises(DataError, match=r"has no 'text', but other lines do; in all it is absent or blank in 1 of 4"):
        ImageFolder.open(metadata(*lines("text", "a", blank, "c", "d")))
    with pytest.raises(DataError, match="no captions"):
        ImageFolder.open(metadata(*lines("text", *[blank] * 4))).captions_of([0])


def test_more_than_a_thousand_captions_are_no_classes(paint, metadata):
    paint("0.png", size=(1, 1))
    folder = metadata(*({"file_name": "0.png", "text": str(number % 1001)} for number in range(2002)))
    assert "1,001 distinct captions" in ImageFolder.open(folder).describe()["condition"]


def test_labels_win_over_captions(four, metadata):
    rows = [
        {"file_name": name, "label": "x", "text": f"caption of {name}"}
        for name in ("0.png", "1.png", "2.png", "more/3.png")
    ]
    data = ImageFolder.open(metadata(*rows))
    assert data.classes == ("x",)
    assert data.captions[3] == "caption of more/3.png"


def test_metadata_without_labels_and_captions_are_unconditional(four, metadata):
    data = ImageFolder.open(metadata(*lines("other", 1, 2, 3, 4)))
    assert data.describe()["condition"] == "none: metadata.jsonl names no classes"


def test_empty_lines_and_a_byte_order_mark_are_harmless(four, metadata):
    data = ImageFolder.open(
        metadata('\ufeff{"file_name": "0.png", "text": "line\u2028break"}', "", "  "), bad_share=1.0
    )
    assert data.captions == ("line\u2028break",)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"file_name": "0.png"', "Line 2 of .*metadata.jsonl is broken: .* at column 22.*Correct or remove it"),
        ('["0.png"]', "Line 2 .* has no 'file_name'"),
        ('{"text": "a"}', "Line 2 .* has no 'file_name'.*such as"),
        ('{"file_name": 3}', "Line 2 .* has no 'file_name'"),
        ('{"file_name": "../0.png"}', r"Line 2 .*'\.\./0.png'.* without '\.\.', and no URL"),
        ('{"file_name": "/tmp/0.png"}', "Line 2 .* relative to the folder"),
        ('{"file_name": "https://x.org/0.png"}', "Line 2 .* no URL"),
        ('{"file_name": "more\\\\3.png"}', "Line 2 .* forward slashes"),
        ('{"file_name": ""}', "Line 2 .* relative to the folder"),
        ('{"file_name": "0.png", "label": -1}', "Line 2 .* gives label -1, which is outside the accepted range"),
        ('{"file_name": "0.png", "label": 1.5}', "Line 2 .* gives label 1.5, .* a whole number from 0"),
        ('{"file_name": "0.png", "label": true}', "Line 2 .* gives label true"),
        ('{"file_name": "0.png", "label": ""}', 'Line 2 .* gives label ""'),
        ('{"file_name": "0.png", "text": ["a", "b"]}', "Line 2 .* gives text .*one caption a line"),
        ('{"file_name": "0.png"}', "Line 2 .* has no 'label', but other lines do; .* 1 of 2 lines"),
    ],
)
def test_broken_line_is_refused_with_its_number(four, metadata, line: str, words: str):
    with pytest.raises(DataError, match=words):
        ImageFolder.open(metadata('{"file_name": "0.png", "label": 1}', line))


def test_caption_on_some_lines_only_is_refused(four, metadata):
    with pytest.raises(DataError, match=r"Line 3 .* has no 'text'.*every line or on none"):
        ImageFolder.open(metadata(*lines("text", "a", "b", None, "d")))


def test_entry_without_its_image_is_refused(four, metadata):
    with pytest.raises(DataError, match=r"1 of 2 entries of .* point to no image: line 2 \(9.png\).*Correct or remove"):
        ImageFolder.open(metadata({"file_name": "0.png"}, {"file_name": "9.png"}))


def test_empty_metadata_are_refused(four, metadata):
    with pytest.raises(DataError, match=r"metadata.jsonl has no entries"):
        ImageFolder.open(metadata(""))


def test_metadata_that_are_no_text_are_refused(four, tmp_path):
    (tmp_path / "metadata.jsonl").write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        ImageFolder.open(tmp_path)


def test_image_without_an_entry_is_skipped_and_counted(four, metadata):
    data = ImageFolder.open(metadata(*lines("label", 0, 1, 0, 1)[:3]), bad_share=0.25)
    assert data.skipped == ("0.png: is not listed in metadata.jsonl",)
    assert len(data) == 3


def test_too_many_images_without_an_entry_are_refused(four, metadata):
    with pytest.raises(DataError, match=r"1 of 4 images .* share of 1.0%: 0.png: is not listed in metadata.jsonl"):
        ImageFolder.open(metadata(*lines("label", 0, 1, 0, 1)[:3]))
