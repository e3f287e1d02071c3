"""The gate of adaptive rates once more, in float64 and by loops."""

import numpy as np
from scipy.special import logit


class SlowGate:
    """The gate in float64, example by example, with exponential weights of its own.

    Every number of the past is kept with its weight, and nothing is summed up.
    """

    def __init__(self, num_classes, num_examples):
        self.num_classes, self.num_examples = num_classes, num_examples
        self.past, self.recent = [], []  # [weight, (label, predicted, p)]
        self.slow = self.visits = 0.0
        self.total = 0
        self.steps = 0
        self.widest = 0.0
        self.opened = False

    def see(self, probs, labels, counts):
        number, mean, deviation = self.of_predicted()
        used = len({seen[0] for _, seen in self.past})
        batch = []
        for p, label, counted in zip(probs, labels, counts, strict=True):
            if not counted:
                continue
            predicted = int(np.argmax(p))
            bar = mean[predicted] + 0.5 * deviation[predicted]
            is_sure = logit(p[predicted]) >= bar and number[predicted] > 1
            # The likeliest has rank 0; the others of the used ones 1 to used - 1.
            rank = sum(p[k] > p[label] for k in range(self.num_classes))
            is_far = num_far(used) and rank > used - 1 - num_far(used)
            batch.append([1.0, (label, predicted, p, is_sure, is_far)])
        size = len(batch)
        self.total += size
        # Ids one after another, from the first again after the last.
        known = min(self.total, self.num_examples)
        self.visits = self.total / known
        self.steps += 1
        share = min(1.0, size / (min(self.visits / 3, 1.0) * known))
        share_recent = min(1.0, size / (min(self.visits / 6, 1.0) * known))
        share_slow = min(1.0, size / (self.visits / 2 * known))
        for one in self.past:
            one[0] *= 1 - share
        for one in self.recent:
            one[0] *= 1 - share_recent
        self.past += batch
        self.recent += [
            [1.0, label == predicted] for _, (label, predicted, *_) in batch
        ]
        agreement = np.mean([label == predicted for _, (label, predicted, *_) in batch])
        self.slow += share_slow * (agreement - self.slow)
        opening, at_random = self.openings()
        self.opened = self.opened or opening > 0.5
        self.widest = max(self.widest, at_random)

    def moments(self, of):
        number, mean, deviation = np.zeros((3, self.num_classes))
        for c in range(self.num_classes):
            kept = [(w, of(seen, c)) for w, seen in self.past]
            kept = [(w, value) for w, value in kept if value is not None]
            if sum(w for w, _ in kept) > 0:
                weights, values = np.array(kept).T
                number[c] = weights.sum()
                mean[c] = (weights * values).sum() / number[c]
                square = (weights * values**2).sum() / number[c]
                deviation[c] = np.sqrt(max(square - mean[c] ** 2, 0))
        return number, mean, deviation

    def of_predicted(self):
        return self.moments(lambda seen, c: logit(seen[2][c]) if seen[1] == c else None)

    def of_agreeing(self):
        return self.moments(
            lambda seen, c: logit(seen[2][c]) if seen[0] == seen[1] == c else None
        )

    def mean(self, of):
        total = sum(weight for weight, _ in self.past)
        return sum(weight * of(*seen) for weight, seen in self.past) / total

    def progress(self):
        recent = np.average(
            [value for _, value in self.recent], weights=[w for w, _ in self.recent]
        )
        return recent / max(self.slow, 1e-9)

    def contradicted(self):
        sure = sum(w for w, seen in self.past if seen[3])
        if sure <= 5:
            return 0.0, 0.0, 0.0
        against = [(w, seen) for w, seen in self.past if seen[3] and seen[0] != seen[1]]
        weight = sum(w for w, _ in against)
        share = weight / sure
        share -= np.sqrt(share * (1 - share) / max(sure, 1))
        far = sum(w for w, seen in against if seen[4])
        used = len({seen[0] for _, seen in self.past})
        by_chance = num_far(used) / (used - 1)
        far_of_chance = min(far / max(weight, 1e-9) / by_chance, 1.0)
        return share, far_of_chance, 1 - 1 / np.sqrt(max(far, 1.0))

    def opening(self):
        return self.openings()[0]

    def openings(self):
        mean_p = self.mean(lambda label, predicted, p, *_: p)
        mean_y = self.mean(lambda label, *_: np.eye(self.num_classes)[label])
        covariance = self.mean(lambda label, predicted, p, *_: p[label])
        covariance -= mean_p @ mean_y
        variance = self.mean(lambda label, predicted, p, *_: p @ p) - mean_p @ mean_p
        sharpness = covariance / variance
        share, by_chance, cautious = self.contradicted()
        begun = 1.0 if self.opened else ramp(sharpness, 0.4, 0.7)
        learnt = begun * (1 - ramp(sharpness, 1.15, 1.4))
        known = ramp(self.widest, 0.15, 0.35)
        much = max(known, ramp(share * by_chance, 0.16, 0.24))
        surely_random = ramp(share * by_chance * cautious, 0.08, 0.14)
        told = known
        if len({seen[0] for _, seen in self.past}) > 20:
            sure_enough = 1 - ramp(share, 0.7, 0.85)
            told = max(told, surely_random * sure_enough)
        told *= self.visits >= 3
        low, high = 1.02 + 0.06 * much, 1.12 + 0.04 * much
        low, high = low + told * (1.4 - low), high + told * (1.6 - high)
        learnt *= 1 - ramp(self.progress(), low, high)
        by_far = (0.3, 0.45) if self.num_classes > 2 else (0.34, 0.44)
        learnt *= (self.visits > 1.001) * (self.steps >= 20)
        random = ramp(share * by_chance, 0.08, 0.14)
        against = max(random, ramp(share, *by_far) * (self.visits >= 3), known)
        sharp = ramp(sharpness, 0.6, 0.8)
        return learnt * against, learnt * surely_random * (self.visits >= 3) * sharp


def num_far(used):
    # Of the others half, of more than 10 classes 4, of more than 22 a fifth.
    return max(min((used - 1) // 2, 4), round((used - 1) / 5))


def ramp(value, low, high):
    return min(max((value - low) / (high - low), 0.0), 1.0)
