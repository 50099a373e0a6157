"""The judge: real data remembered as features, against which every model is measured in the same way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fewstep.data.checker import Checker
from fewstep.errors import DataError
from fewstep.evaluate.distances import frechet, kernel
from fewstep.evaluate.diversity import spread, vendi
from fewstep.evaluate.features import extract
from fewstep.evaluate.manifold import precision_recall
from fewstep.evaluate.parts import in_parts
from fewstep.evaluate.pixels import clamped
from fewstep.evaluate.rows import Row

__all__ = ["Judge"]

SUBSETS = 20  # for the kernel distance: a fifth of the usual 100, each image of 2,000 still counts ten times


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures images against real data, all as features of one network; build it with ``Judge.of``.

    Data that can check their items come with a ``checker``: the network gets what it sees of them, and accuracy, and of
    sounds the loudness, are what it says.
    Images, but not latents, are clamped to [-1, 1] first, real and generated alike, and are not resized. Features are
    float64 on the CPU.
    """

    net: nn.Module
    classifier: nn.Module | None
    features: Tensor
    labels: Tensor | None
    accuracy: float | None
    checker: Checker | None = None
    loudness_error: float | None = None

    @classmethod
    def of(
        cls,
        images: Tensor,
        labels: Tensor | None,
        features_net: nn.Module,
        classifier: nn.Module | None = None,
        checker: Checker | None = None,
    ) -> "Judge":
        """Remember the real images. ``features_net`` maps images to (n, d) features, ``classifier`` to class logits.

        Both networks are put into evaluation mode. Raises ``DataError`` for fewer than 8 images or values that are not
        finite.
        """
        if len(images) < 8 or not images.isfinite().all():  # two halves of 4: precision and recall with k = 3
            raise DataError(f"A judge needs at least 8 real images, all of them finite; got {len(images)}.")
        features_net.eval()
        if classifier is not None:
            classifier.eval()
        images = _bounded(checker, images)
        accuracy, error = _right(classifier, checker, images, labels)
        features = _described(features_net, checker, images)
        return cls(features_net, classifier, features, labels, accuracy, checker, error)

    def without(self, classes: Sequence[int]) -> "Judge":
        """Return the same judge without the real items of these labels, of which it will not ask any either."""
        if self.labels is None or not classes:
            return self
        kept = ~torch.isin(self.labels, torch.tensor(classes, device=self.labels.device))
        return replace(self, features=self.features[kept.to(self.features.device)], labels=self.labels[kept])

    def floor(self) -> Row:
        """What a perfect model would get: the even half of the real data against the odd half.

        ``samples`` is the size of one half, so the Frechet distance is biased a little more than that of a model judged
        on as many images as there are real ones. Accuracy, diversity and Vendi score are those of all real images.
        """
        even, odd = self.features[0::2], self.features[1::2]
        precision, recall = precision_recall(even, odd)
        return Row(
            model="real",
            steps=None,
            calls=None,
            frechet=frechet(even, odd),
            kernel=kernel(even, odd, subsets=SUBSETS),
            precision=precision,
            recall=recall,
            diversity=spread(self.features, _kinds(self.checker, self.labels)),
            accuracy=self.accuracy,
            seconds_per_image=None,
            samples=len(odd),
            vendi=vendi(self.features, centre=self.features.mean(0)),
            loudness_error=self.loudness_error,
        )

    def distance(self, images: Tensor) -> float:
        """The Frechet distance alone, for choosing between checkpoints."""
        return frechet(self.features, self.described(images))

    def described(self, images: Tensor) -> Tensor:
        """The features of images, (n, d)."""
        return _described(self.net, self.checker, _bounded(self.checker, images))

    def wrong(self, images: Tensor, labels: Tensor | None) -> float | None:
        """The share of images that are not what was asked for, for choosing between checkpoints; never 0.

        It is counted with one more that is wrong.  None where no checker tells: classes are seen in the distance, whose
        features are a classifier's, but what captions ask for is not.
        """
        if self.checker is None:
            return None
        right, _ = _right(None, self.checker, _bounded(self.checker, images), labels)
        return None if right is None else ((1 - right) * len(images) + 1) / (len(images) + 1)

    def judge(
        self,
        images: Tensor,
        labels: Tensor | None,
        *,
        model: str,
        steps: int | None,
        calls: int | None,
        seconds_per_image: float | None = None,
    ) -> Row:
        """Measure generated images, asked for by ``labels``; the Vendi score is centred on the real features.

        Raises ``UnhealthyTraining`` when an image is not finite and ``DataError`` for fewer than 4 images.
        """
        images = _bounded(self.checker, images)
        fake = self.described(images)
        accuracy, error = _right(self.classifier, self.checker, images, labels)
        precision, recall = precision_recall(self.features, fake)
        return Row(
            model=model,
            steps=steps,
            calls=calls,
            frechet=frechet(self.features, fake),
            kernel=kernel(self.features, fake, subsets=SUBSETS),
            precision=precision,
            recall=recall,
            diversity=spread(fake, _kinds(self.checker, labels)),
            accuracy=accuracy,
            seconds_per_image=seconds_per_image,
            samples=len(fake),
            vendi=vendi(fake, centre=self.features.mean(0)),
            loudness_error=error,
        )


def _bounded(checker: Checker | None, images: Tensor) -> Tensor:
    """Return items as a file would hold them; latents stand for images and are not cut themselves."""
    if checker is None or checker.bounded:
        return clamped(images)
    clamped(images)  # all finite
    return images


def _described(net: nn.Module, checker: Checker | None, images: Tensor) -> Tensor:
    """Return the features of items, of which pictures are made a part at a time."""
    return in_parts(lambda part: extract(net, part if checker is None else checker.seen(part)), images)


def _kinds(checker: Checker | None, labels: Tensor | None) -> Tensor | None:
    """What counts as one condition for diversity: where conditions are no classes, their kind."""
    return labels if checker is None or labels is None else checker.kind(labels)


def _right(
    classifier: nn.Module | None, checker: Checker | None, images: Tensor, labels: Tensor | None
) -> tuple[float | None, float | None]:
    """Share of items that are what was asked for, and of sounds the mean loudness error; a checker needs no network."""
    if checker is None or labels is None:
        return _accuracy(classifier, images, labels), None
    asked = checker.kind(labels) >= 0
    if not asked.any():
        return None, None
    named, wanted = images[asked.to(images.device)].cpu(), labels[asked].cpu()
    accuracy = float(in_parts(checker.right, named, wanted).to(torch.float64).mean())
    error = checker.loudness_error(named, wanted)
    return accuracy, None if error is None else float(error.to(torch.float64).mean())


def _accuracy(classifier: nn.Module | None, images: Tensor, labels: Tensor | None) -> float | None:
    """Share of the images that are classified as what they should be; those of class -1 do not count."""
    if classifier is None or labels is None or labels.is_floating_point() or not (labels >= 0).any():
        return None
    named, wanted = images[(labels >= 0).to(images.device)], labels[labels >= 0].cpu()
    return float((extract(classifier, named).argmax(1) == wanted).to(torch.float64).mean())
