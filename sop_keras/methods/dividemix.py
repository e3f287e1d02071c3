"""DivideMix (Li et al. 2020): a mixture divides the labels, MixMatch learns of both."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import ops

from sop_keras.core.batch import Batch, Outputs, Tensor
from sop_keras.core.look import Look
from sop_keras.core.method import Method
from sop_keras.core.passes import Pass
from sop_keras.core.probabilities import log_probabilities
from sop_keras.core.table import Table
from sop_keras.core.views import join_views
from sop_keras.label_issues.doubts import Doubt, Evidence
from sop_keras.methods import mixmatch
from sop_keras.methods.clean_probabilities import CleanProbabilityScan, clean_scores
from sop_keras.methods.dividemix_record import (
    NUM_LABELED,
    DivideMixParameters,
    division_doubts,
)
from sop_keras.methods.mixture import fit_mixture, normalized
from sop_keras.methods.mixup import draws, mix_pairs

logger = logging.getLogger(__name__)

# By the place of the network whose losses they are made of.
_CLEAN = ("clean_prob", "peer_clean_prob")
_LOSSES = ("loss_history", "peer_loss_history")
_NO_LOSS = -1.0
_WARM_UP = "warm-up"


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class DivideMix(Method, DivideMixParameters):
    """Each network learns of what its peer's losses say of the labels.

    After `warm_up` epochs of cross entropy, before each epoch, both networks look at
    all examples. A mixture of two normal distributions is fitted to the losses of each;
    w_i is the posterior of the smaller one. By the peer's w, a network's labelled
    examples X are those of w > `p_threshold`; of the rest, U, labels are dropped.

    A step takes B examples of X and B of U (`batch_size` is B), in two views each. U
    comes anew when it is used up. Labels of X are refined by the network's own
    predictions, those of U guessed by both networks; both are sharpened. All 4B views
    are mixed in pairs, as in MixMatch, and the objective is

        CE(rows of X) + weight_u MSE(rows of U) + sum_k 1/K log(1/K / mean p_k).

    In the warm-up, a batch has 2B examples, in one view. Both networks predict
    together, by the mean of their outputs.

    With no label of a posterior above the threshold, the last division is kept, and a
    warning says so; with all above it, each network learns of X alone. Losses that are
    all equal leave all labelled, with w = 1. Every example owns w of both networks, 8
    bytes, and 8 more for each of several epochs of `loss_history`.

    Args:
        lambda_u: the weight of the loss of U after its ramp of 16 epochs. Published: 0
            on CIFAR-10 with 20%, 25 with 50 and 80%, 50 with 90% of symmetric noise, 0
            with 40% of asymmetric; on CIFAR-100 25, and 150 from 50% on. Defaults to
            `25.0`.
        p_threshold: in [0, 1]; published: 0.6 with 90% of noise. Defaults to `0.5`.
        temperature: T, not negative. Defaults to `0.5`.
        alpha: of the mixing, not negative. Defaults to `4.0`.
        warm_up: epochs, at least 1; published: 10, 30 on CIFAR-100. Defaults to `10`.
        loss_history: of how many epochs the losses are averaged. Defaults to `1`.
        labeled_only: whether only the rows of X are trained on. Defaults to `False`.
        warm_up_penalty: whether the warm-up penalises confidence. Defaults to `False`.
        guess_in_training: whether the network guesses in the mode of training, in which
            BatchNormalization sees each view of X and U by itself, as published.
            Defaults to `True`.

    Raises:
        ValueError: for a number out of range.

    Reference: Li, Socher, Hoi, "DivideMix: Learning with Noisy Labels as
    Semi-supervised Learning", ICLR 2020, Algorithm 1; LiJunnan1992/DivideMix at
    d9d3058.
    """

    num_networks = 2
    in_turn = True
    predicts_together = True
    num_views = 2
    takes_weights = False
    finds_label_issues = True
    compiles = False  # as many rows as there are of X and U in a batch
    pairs_help = "DivideMix trains on pairs of views of every example, both weak."

    @property
    def mixes_inputs(self) -> bool:
        """Unless alpha is 0."""
        return self.alpha > 0

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """Of rows of X, of rows of U, and the penalty of the mean prediction."""
        return ("labeled_loss", "unlabeled_loss", "penalty")

    def tables(self, num_classes: int) -> tuple[Table, ...]:
        """The posteriors w by both networks, and the losses that they are made of."""
        tables = [Table(name, 1, initial=1.0) for name in _CLEAN]
        if self.loss_history > 1:
            count = self.loss_history
            tables += [Table(name, count, initial=_NO_LOSS) for name in _LOSSES]
        return tuple(tables)

    def state(self, num_classes: int) -> Mapping[str, np.ndarray]:
        """How many labelled examples each network has."""
        return {"num_labeled": np.zeros(2)}

    def schedule(self, epoch: int, epochs: int) -> Mapping[str, float]:
        """The epoch, for the ramp of lambda_u."""
        return {"epoch": epoch}

    def phase(self, epoch: int) -> str:
        """The warm-up, or what follows it."""
        return _WARM_UP if epoch < self.warm_up else ""

    def looks_before(self, epoch: int) -> bool:
        """Before each epoch after the warm-up."""
        return epoch >= self.warm_up

    def before_epoch(self, look: Look) -> Mapping[str, np.ndarray]:
        """Divide the labels by each network's losses."""
        written: dict[str, np.ndarray] = {}
        num_labeled = np.array(look.state["num_labeled"])
        for place, losses in enumerate(look.losses):
            losses = normalized(losses)
            if self.loss_history > 1:
                history = look.rows[_LOSSES[place]][:, 1:]
                history = np.concatenate([history, losses[:, None]], axis=1)
                written[_LOSSES[place]] = history
                is_known = history > _NO_LOSS
                losses = np.where(is_known, history, 0.0).sum(1) / is_known.sum(1)
            clean_prob = fit_mixture(losses).posterior
            count = int((clean_prob > self.p_threshold).sum())
            peer = 1 - place
            if not count:
                goes_on = "goes on with its last division"
                if not num_labeled[peer]:
                    goes_on = "takes all labels for right until there is one"
                logger.warning(
                    "Before epoch %d: no label has a posterior above %g by the losses "
                    "of network %d. Network %d %s; a lower p_threshold would give it "
                    "labels.",
                    *(look.epoch + 1, self.p_threshold, place + 1, peer + 1, goes_on),
                )
                continue
            written[_CLEAN[place]], num_labeled[peer] = clean_prob, count
        return {**written, "num_labeled": num_labeled}

    def batches(self, examples: Pass) -> Sequence[np.ndarray]:
        """B of X and B of U; in the warm-up 2B of all."""
        size = examples.batch_size
        if self.phase(examples.epoch) == _WARM_UP:
            return examples.cut(examples.order(), 2 * size)
        clean_prob = examples.rows(_CLEAN[1 - examples.network])[:, 0]
        is_labeled = clean_prob > self.p_threshold
        (labeled,), (unlabeled,) = np.nonzero(is_labeled), np.nonzero(~is_labeled)
        batches = examples.cut(examples.order(labeled, "labeled"), size)
        if not len(labeled):
            logger.warning(
                "In epoch %d, none of network %d's examples has a label that is taken "
                "for right: it learns nothing.",
                *(examples.epoch + 1, examples.network + 1),
            )
        if not len(unlabeled):
            return batches
        stream: list[np.ndarray] = []
        turn = 0
        while len(stream) < len(batches):
            order = examples.order(unlabeled, "unlabeled", turn)
            stream += examples.cut(order, size)
            turn += 1
        pairs = zip(batches, stream[: len(batches)], strict=True)
        return [np.concatenate(pair) for pair in pairs]

    def mix(self, batch: Batch, rows: Mapping[str, Tensor]) -> Batch:
        """Mixed views of X and U, with refined and guessed labels."""
        if batch.phase == _WARM_UP:
            return replace(batch, views=batch.views[:1])
        own, peer, ask = batch.network, 1 - batch.network, batch.ask
        assert ask is not None
        clean_prob = rows[_CLEAN[peer]]
        is_labeled = clean_prob[:, 0] > self.p_threshold
        (of_x,), (of_u,) = ops.nonzero(is_labeled), ops.nonzero(~is_labeled)

        def said(network: int, places: Tensor, others: Tensor) -> list[Tensor]:
            # BatchNormalization would make NaN of no rows: others stand in for them.
            count = ops.shape(places)[0]
            asked = ops.cond(count > 0, lambda: places, lambda: others)
            views = tuple(taken(view, asked) for view in batch.views)
            if self.guess_in_training and network == own:
                return [ask(network, one, True)[:count] for one in views]
            # In the mode of evaluation, views do not see each other.
            answers = ops.split(ask(network, join_views(views)), len(views))
            return [one[:count] for one in answers]

        of_own = said(own, of_u, of_x)
        guessed = [*of_own, *said(peer, of_u, of_x)]
        refined = said(own, of_x, of_u)
        is_logits = batch.from_logits
        labels = mixmatch.co_refine(
            ops.take(clean_prob, of_x, axis=0),
            ops.take(batch.labels, of_x, axis=0),
            mixmatch.co_guess(refined, is_logits),
        )
        targets = mixmatch.sharpen(
            ops.concatenate([labels, mixmatch.co_guess(guessed, is_logits)]),
            self.temperature,
        )
        places = ops.concatenate([of_x, of_u])
        seen = ops.concatenate([refined[0], of_own[0]])
        views = keras.tree.map_structure(
            lambda *both: ops.concatenate(
                [ops.take(ops.cast(one, "float32"), places, axis=0) for one in both]
            ),
            *batch.views,
        )
        targets = ops.concatenate([targets, targets])
        is_labeled = ops.take(is_labeled, places, axis=0)
        is_labeled = ops.concatenate([is_labeled, is_labeled])
        views, targets = self._mixed(batch, views, targets)
        if self.labeled_only:
            (kept,) = ops.nonzero(is_labeled)
            views, targets, is_labeled = taken((views, targets, is_labeled), kept)
        return replace(
            batch,
            views=(views,),
            labels=targets,
            seen=ops.take(seen, ops.argsort(places), axis=0),
            extra={"is_labeled": ops.cast(is_labeled, "float32")},
        )

    def _mixed(self, batch: Batch, views: Tensor, targets: Tensor) -> tuple:
        """Rows and targets, each with a partner's."""
        if self.alpha == 0:
            return views, targets
        share, partners = self.draws(batch, ops.shape(targets)[0])
        return keras.tree.map_structure(
            lambda one: mix_pairs(one, one, partners, share), (views, targets)
        )

    def draws(self, batch: Batch, num_rows: Tensor) -> tuple[Tensor, Tensor]:
        """The share and the partners of a step: of x1, u1, x2, u2."""
        key = 2 * batch.step + batch.network
        return draws(self.alpha, batch.seed, key, num_rows)

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of the warm-up, or of MixMatch."""
        log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
        if batch.phase == _WARM_UP:
            labeled = batch.mean_loss(mixmatch.labeled_losses(log_probs, batch.labels))
            none = ops.zeros((), "float32")
            penalty = none
            if self.warm_up_penalty:
                penalty = batch.mean_loss(mixmatch.negative_entropy(log_probs))
            parts = dict(zip(self.loss_parts, (labeled, none, penalty), strict=True))
            return labeled + penalty, parts
        is_labeled = batch.extra["is_labeled"]
        labeled = _mean_where(
            is_labeled, mixmatch.labeled_losses(log_probs, batch.labels)
        )
        unlabeled = _mean_where(
            1.0 - is_labeled, mixmatch.unlabeled_losses(log_probs, batch.labels)
        )
        penalty = mixmatch.prior_penalty(log_probs, batch.mean)
        num_labeled = batch.state["num_labeled"][batch.network]
        weight = mixmatch.unlabeled_weight(
            batch.scheduled["epoch"],
            batch.step_in_pass,
            num_labeled // (batch.batch_size or 1) + 1,
            self.warm_up,
            self.lambda_u,
        )
        parts = dict(zip(self.loss_parts, (labeled, unlabeled, penalty), strict=True))
        return labeled + weight * unlabeled + penalty, parts

    def scores(
        self,
        log_probs: np.ndarray,
        rows: Mapping[str, np.ndarray],
        labels: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """By the mean of both posteriors; the networks suggest the class."""
        return clean_scores(_mean_clean_prob(rows), log_probs, labels)

    def scan(self, labels: np.ndarray, num_classes: int) -> CleanProbabilityScan:
        """What the posteriors say of all labels."""
        return CleanProbabilityScan(labels, _mean_clean_prob)

    def doubts(self, evidence: Evidence) -> tuple[Doubt, ...]:
        """Those of any method, and that no division was made."""
        return division_doubts(evidence)

    def figures(self, state: Mapping[str, np.ndarray]) -> dict[str, float]:
        """How many labelled examples each network learns of."""
        counts = map(float, state["num_labeled"])
        return dict(zip(NUM_LABELED, counts, strict=True))


def taken(values: Tensor, places: Tensor) -> Tensor:
    """Rows of all tensors of a structure."""
    return keras.tree.map_structure(lambda one: ops.take(one, places, axis=0), values)


def _mean_where(mask: Tensor, losses: Tensor) -> Tensor:
    return ops.sum(mask * losses) / ops.maximum(ops.sum(mask), 1.0)


def _mean_clean_prob(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.mean([rows[name][:, 0] for name in _CLEAN], axis=0)
