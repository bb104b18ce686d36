"""[10] EMIS: fewer training pixels, selected by the ensemble margin."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from wbcstudy.baselines.margins import ensemble_margins, out_of_bag_votes, select_instances
from wbcstudy.baselines.pixels import GrowingMethod, check_number, features_of


@dataclass(eq=False, repr=False)
class MarginSelection(GrowingMethod):
    """Ensemble margin instance selection, then pixel classification with region growing.

    M. Saidi, M. E. A. Bechar, N. Settouti and M. A. Chikh: Instances selection algorithm by ensemble margin. Journal of
    Experimental & Theoretical Artificial Intelligence 30, 457-478 (2018). doi:10.1080/0952813X.2017.1409283. Reference
    [10] of the paper, which describes it in one sentence; steps 2 to 4 are reconstructed.

    1. A random forest learns the label of training pixels from their colour, as for [9].
    2. The margin of each training pixel is computed from the trees that did not learn from it: (votes for its label -
       most votes for another label) / votes.
    3. Pixels with a negative margin are noise and are removed. Of the others, each label keeps those with the lowest
       margins, near the borders between labels, up to a share of its pixels.
    4. A new forest learns from the selected pixels; regions grow from points of interest as for [9].

    Args:
        share: maximum share of each label's training pixels that are kept; above 0 up to 1.
        trees: number of trees of both forests.
        min_leaf: minimum number of training pixels in a leaf, in both.

    The other parameters are those of `GrowingMethod`.

    Attributes:
        selected_: int64 positions of the kept pixels among the drawn ones.
        noise_share_: share of the drawn pixels with a negative margin.
        selected_share_: share of the drawn pixels that were kept.
    """

    share: float = 0.2
    trees: int = 30
    min_leaf: int = 5

    def _learn(self, colours: np.ndarray, labels: np.ndarray, random_state: int) -> None:
        self.features_ = partial(features_of, spaces=self.spaces)
        features = self.features_(colours)
        first = self._forest(random_state).fit(features, labels)
        self._select(first, features, labels)
        self.classifier_ = self._forest(random_state).fit(features[self.selected_], labels[self.selected_])

    def _forest(self, random_state: int):
        check_number("trees", self.trees, 1)
        check_number("min_leaf", self.min_leaf, 1)
        return RandomForestClassifier(self.trees, min_samples_leaf=self.min_leaf, random_state=random_state)

    def _select(self, forest, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Set `selected_` and its shares; return the votes."""
        votes = out_of_bag_votes(forest, features)
        margins = ensemble_margins(votes, np.searchsorted(forest.classes_, labels))
        self.selected_ = select_instances(margins, labels, self.share)
        self.noise_share_ = float(np.mean(margins < 0))
        self.selected_share_ = self.selected_.size / labels.size
        return votes
