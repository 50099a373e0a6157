"""The classifier that judges: good, the same from the same seed, remembered."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fewstep.errors import DataError
from fewstep.evaluate import Classifier, cached_classifier, extract, features, train_classifier

Digits = tuple[Tensor, Tensor]


def equal_weights(one: Classifier, other: Classifier) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training of ten updates, enough to tell two trainings apart."""
    monkeypatch.setattr(features, "STEPS", 10)


def test_classifier_recognises_digits_it_has_not_seen(digits: Digits, classifier: Classifier):
    images, labels = digits
    assert float((classifier(images[1437:]).argmax(1) == labels[1437:]).float().mean()) > 0.95


def test_features_are_the_64_units_before_the_logits(digits: Digits, classifier: Classifier):
    units = classifier.features(digits[0][:5])
    assert units.shape == (5, 64)
    assert torch.equal(classifier.head(units), classifier(digits[0][:5]))


def test_features_have_a_mean_square_of_1_over_the_training_images(digits: Digits, classifier: Classifier):
    units = extract(classifier.trunk, digits[0][:1437])
    assert float(units.square().mean()) == pytest.approx(1, abs=1e-4)
    assert units.dtype == torch.float64


def test_rescaling_features_leaves_the_logits_alone(digits: Digits):
    net, x = Classifier(1, 8, 10), digits[0][:5]
    units, logits = net.features(x), net(x)
    net.rescale(3.0)
    torch.testing.assert_close(net.features(x), 3 * units)
    torch.testing.assert_close(net(x), logits)


def test_trained_classifier_is_frozen_and_in_evaluation_mode(classifier: Classifier):
    assert not classifier.training
    assert not any(weight.requires_grad for weight in classifier.parameters())


@pytest.mark.usefixtures("quick")
def test_same_seed_gives_the_same_weights_and_leaves_the_global_random_state_alone(digits: Digits):
    before = torch.get_rng_state()
    one, same, other = (train_classifier(*digits, 10, seed=seed) for seed in (1, 1, 2))
    assert equal_weights(one, same)
    assert not equal_weights(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("quick")
def test_items_without_a_class_are_skipped(digits: Digits):
    images, labels = digits[0][:300], digits[1][:300].clone()
    labels[200:] = -1
    assert equal_weights(train_classifier(images, labels, 10), train_classifier(images[:200], labels[:200], 10))


def test_unlabelled_images_teach_their_quarter_turns(digits: Digits, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(features, "STEPS", 150)
    net = train_classifier(digits[0][:1437], None, 0)
    turned = torch.cat([digits[0][1437:].rot90(turn, (2, 3)) for turn in range(4)])
    turns = torch.arange(4).repeat_interleave(360)
    assert float((net(turned).argmax(1) == turns).float().mean()) > 0.85


@pytest.mark.parametrize(("channels", "size"), [(1, 4), (3, 17), (3, 64), (4, 100)])
def test_classifier_takes_any_size_and_channels(channels: int, size: int):
    net = Classifier(channels, size, 5)
    assert net(torch.zeros(2, channels, size, size)).shape == (2, 5)
    assert net.features(torch.zeros(2, channels, size, size)).shape == (2, 64)


@pytest.mark.usefixtures("quick")
def test_cache_gives_the_weights_that_training_gives(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained = cached_classifier(*digits, 10, tmp_path)
    monkeypatch.setattr(features, "train_classifier", None)  # a second training would fail
    loaded = cached_classifier(*digits, 10, tmp_path)
    assert equal_weights(trained, loaded)
    assert not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("broken", [b"", b"not safetensors at all", b"\x08\0\0\0\0\0\0\0{}      "])
def test_broken_cache_is_trained_again_and_repaired(digits: Digits, tmp_path: Path, broken: bytes):
    trained = cached_classifier(*digits, 10, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(broken)
    assert equal_weights(cached_classifier(*digits, 10, tmp_path), trained)
    assert file.read_bytes() == whole


@pytest.mark.usefixtures("quick")
def test_cache_tells_images_labels_and_seeds_apart(digits: Digits, tmp_path: Path):
    images, labels = digits[0][:100], digits[1][:100]
    for arguments in ((images, labels, 10), (-images, labels, 10), (images, labels.flip(0), 10), (images, None, 0)):
        cached_classifier(*arguments, tmp_path)
    cached_classifier(images, labels, 10, tmp_path, seed=1)
    assert len(list(tmp_path.iterdir())) == 5


def test_images_that_are_not_square_are_refused():
    with pytest.raises(DataError, match="square"):
        train_classifier(torch.zeros(4, 1, 8, 6), None, 0)


@pytest.mark.parametrize("wrong", [[0, 1, 2, 10], [-1, -1, -1, -1]])
def test_labels_that_are_no_classes_are_refused(wrong: list[int]):
    with pytest.raises(DataError, match="0 to 9"):
        train_classifier(torch.zeros(4, 1, 8, 8), torch.tensor(wrong), 10)


def test_extraction_does_not_depend_on_the_chunk(digits: Digits, classifier: Classifier):
    whole, parts = (extract(classifier.trunk, digits[0][:100], chunk) for chunk in (100, 7))
    torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-6)


def test_network_that_returns_no_finite_vectors_is_refused(digits: Digits):
    with pytest.raises(DataError, match="shape"):
        extract(torch.nn.Identity(), digits[0])
    with pytest.raises(DataError, match="not all finite"):
        extract(torch.nn.Flatten(), digits[0] / 0)
