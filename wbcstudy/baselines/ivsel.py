"""[11] IVsel: training pixels and colour components selected together."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from wbcstudy.baselines.colour import COMPONENTS, feature_names
from wbcstudy.baselines.margins import check_share, out_of_bag_votes, select_variables
from wbcstudy.baselines.pixels import check_number, features_of
from wbcstudy.baselines.saidi2018 import MarginSelection

_log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class InstanceVariableSelection(MarginSelection):
    """Instance and variable selection, then pixel classification with region growing.

    N. Settouti, M. Saidi, M. E. A. Bechar, M. El Habib Daho and M. A. Chikh: An instance and variable selection
    approach in pixel-based classification for automatic white blood cells segmentation. Pattern Analysis and
    Applications 23, 1709-1726 (2020). Reference [11] of the paper. The selection of pixels by the margin and of
    components by their importance in the same forest is the reference's; shares, the check of step 3 and growing are
    reconstructed.

    1. A random forest learns the label of training pixels from all components of all colour spaces.
    2. The same forest selects the pixels, by out-of-bag margins as for [10], and the components: the most important
       ones (mean decrease of impurity) that together hold a share of the total importance.
    3. A forest of all pixels and the selected components is checked out of bag: if its accuracy is lower than that of
       the forest of step 1 by more than `tolerance`, the share is raised to .99, then to all components.
    4. A new forest learns from the selected pixels and components; regions grow from points of interest as for [9].

    Components are highly correlated, so the importance is spread over many, and the selection changes from seed to
    seed: see `variables_`.

    Args:
        importance_share: share of the importance that the selected components hold, above 0 up to 1.
        tolerance: accepted loss of out-of-bag accuracy, as a fraction from 0 to 1.

    The other parameters are those of `MarginSelection` and `GrowingMethod`; components are selected from `spaces`.

    Attributes:
        variables_: names of the selected components, the most important first.
        importances_: name -> importance of every component in the first forest, with sum 1.
        importance_share_: the share that was used in the end.
        accuracies_: out-of-bag accuracy of the first forest and of the forest of the selected components.
    """

    importance_share: float = 0.95
    tolerance: float = 0.01

    def _learn(self, colours: np.ndarray, labels: np.ndarray, random_state: int) -> None:
        check_share("importance_share", self.importance_share)
        check_number("tolerance", self.tolerance, 0, 1)
        names = feature_names(self.spaces)
        features = features_of(colours, self.spaces)
        first = self._forest(random_state).fit(features, labels)
        before = _accuracy(self._select(first, features, labels), first.classes_, labels)
        importances = first.feature_importances_
        for share in (self.importance_share, *(larger for larger in (0.99, 1.0) if larger > self.importance_share)):
            chosen = select_variables(importances, share)
            if chosen.size == len(names):
                after = before
                break
            smaller = self._forest(random_state).fit(features[:, chosen], labels)
            after = _accuracy(out_of_bag_votes(smaller, features[:, chosen]), smaller.classes_, labels)
            # NaN (too few trees for out-of-bag votes) does not raise the share.
            if not after < before - self.tolerance:
                break
        self.importances_ = dict(zip(names, importances.tolist(), strict=True))
        self.variables_ = tuple(names[k] for k in chosen)
        self.importance_share_, self.accuracies_ = share, (before, after)
        self.features_ = partial(_pick_components, variables=self.variables_)
        rows = self.selected_
        self.classifier_ = self._forest(random_state).fit(features[rows][:, chosen], labels[rows])
        _log.info(
            "IVsel: %d of %d pixels and %d of %d components (%s); out-of-bag accuracy %.3f with all components, %.3f "
            "with these",
            rows.size,
            labels.size,
            chosen.size,
            len(names),
            ", ".join(self.variables_),
            before,
            after,
        )


def _pick_components(colours: np.ndarray, variables: Sequence[str]) -> np.ndarray:
    """Compute the named components, float32 (N, V), of colours, uint8 (N, 3); other colour spaces are left out."""
    spaces = tuple(space for space, names in COMPONENTS.items() if set(names) & set(variables))
    names = feature_names(spaces)
    return features_of(colours, spaces)[:, [names.index(name) for name in variables]]


def _accuracy(votes: np.ndarray, classes: np.ndarray, labels: np.ndarray) -> float:
    voted = votes.any(axis=1)
    return float(np.mean(classes[votes[voted].argmax(axis=1)] == labels[voted])) if voted.any() else float("nan")
