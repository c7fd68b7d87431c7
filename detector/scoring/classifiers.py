"""The classifiers of the lab: fitted by scikit-learn, handed on as plain arrays.

Only offline jobs import this module; what serves needs no scikit-learn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor
from typing_extensions import override

from detector.scoring.trees import TreeArrays, TreeEnsemble

__all__ = [
    "AdaBoost",
    "ClassifierName",
    "GradientBoosting",
    "RandomForest",
    "TreeClassifier",
    "classifier_of",
]


class TreeClassifier(ABC):
    """Learns to tell attacked from clean images by trees; works on scores and on raw bits alike."""

    def fit(
        self,
        features: Tensor,
        attacked: Tensor,
        *,
        weights: Tensor | None = None,
        seed: int = 0,
    ) -> TreeEnsemble:
        """Fit the classifier.

        Args:
            features: Float or bool of shape (N, F).
            attacked: True for attacked images, bool of shape (N,); both kinds have to be there.
            weights: How much each image counts, shape (N,); by default all alike.
            seed: Seed of what is random.

        Returns:
            Trees whose score is scikit-learn's own decision value; higher means attacked.

        Raises:
            ValueError: If shapes do not fit, a value is not finite or one of the kinds is missing.
        """
        if features.ndim != 2 or attacked.shape != features.shape[:1]:
            raise ValueError(
                "Features should have shape (N, F) and attacked shape (N,). "
                f"Found {tuple(features.shape)} and {tuple(attacked.shape)}."
            )
        if not 0 < int(attacked.sum()) < len(attacked):
            raise ValueError(
                "Both clean and attacked images should be given. "
                f"Found {int(attacked.sum())} attacked among {len(attacked)}."
            )
        values = features.to(torch.float32)
        if not bool(values.isfinite().all()):
            raise ValueError("Features should be finite. Found others.")
        return self._fit(
            values.numpy(),
            attacked.numpy().astype(np.int64),
            None if weights is None else weights.numpy(),
            seed,
        )

    @abstractmethod
    def _fit(
        self,
        values: NDArray[np.float32],
        truth: NDArray[np.int64],
        weights: NDArray[Any] | None,
        seed: int,
    ) -> TreeEnsemble:
        """Fit; truth is 0 for clean and 1 for attacked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomForest(TreeClassifier):
    """Mean of deep trees on random parts of the images: a probability in [0, 1].

    Args:
        trees: Number of trees.
        depth: Largest depth of a tree; None for no bound.
    """

    trees: int = 200
    depth: int | None = None

    @override
    def _fit(
        self,
        values: NDArray[np.float32],
        truth: NDArray[np.int64],
        weights: NDArray[Any] | None,
        seed: int,
    ) -> TreeEnsemble:
        forest = RandomForestClassifier(
            self.trees, max_depth=self.depth, random_state=seed, n_jobs=-1
        ).fit(values, truth, sample_weight=weights)
        trees = [tree.tree_ for tree in forest.estimators_]
        shares = [tree.value[:, 0, 1] / tree.value[:, 0, :].sum(axis=1) for tree in trees]
        return TreeEnsemble.of(
            [_arrays(tree, s / len(trees)) for tree, s in zip(trees, shares, strict=True)]
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaBoost(TreeClassifier):
    """Weighted vote of small trees, each fitted on what those before got wrong.

    Args:
        trees: Number of trees.
        depth: Depth of each tree.
    """

    trees: int = 200
    depth: int = 1

    @override
    def _fit(
        self,
        values: NDArray[np.float32],
        truth: NDArray[np.int64],
        weights: NDArray[Any] | None,
        seed: int,
    ) -> TreeEnsemble:
        boosted = AdaBoostClassifier(
            DecisionTreeClassifier(max_depth=self.depth),
            n_estimators=self.trees,
            random_state=seed,
        ).fit(values, truth, sample_weight=weights)
        total = boosted.estimator_weights_.sum()
        trees = []
        for estimator, share in zip(
            boosted.estimators_, boosted.estimator_weights_ / total, strict=False
        ):
            tree = estimator.tree_
            # A tree that was fitted on one kind alone knows only that one.
            winner = estimator.classes_[tree.value[:, 0, :].argmax(axis=1)]
            trees.append(_arrays(tree, np.where(winner == 1, 2 * share, -2 * share)))
        return TreeEnsemble.of(trees)


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientBoosting(TreeClassifier):
    """Sum of small regression trees: the log-odds of being attacked.

    Args:
        trees: Number of trees.
        depth: Depth of each tree.
        learning_rate: How much each tree counts, positive.
        subsample: Share of the images that each tree sees, in (0, 1].
        features: Share of the features that each split looks at, in (0, 1].
    """

    trees: int = 200
    depth: int = 3
    learning_rate: float = 0.1
    subsample: float = 0.5
    features: float = 0.2

    @override
    def _fit(
        self,
        values: NDArray[np.float32],
        truth: NDArray[np.int64],
        weights: NDArray[Any] | None,
        seed: int,
    ) -> TreeEnsemble:
        boosted = GradientBoostingClassifier(
            n_estimators=self.trees,
            max_depth=self.depth,
            learning_rate=self.learning_rate,
            subsample=self.subsample,
            max_features=self.features,
            random_state=seed,
        ).fit(values, truth, sample_weight=weights)
        prior = boosted.init_.class_prior_[1]
        trees = [stage.tree_ for stage in boosted.estimators_[:, 0]]
        return TreeEnsemble.of(
            [_arrays(tree, self.learning_rate * tree.value[:, 0, 0]) for tree in trees],
            offset=float(np.log(prior / (1 - prior))),
        )


class ClassifierName(StrEnum):
    """A classifier by name, as commands write it."""

    RANDOM_FOREST = "random-forest"
    ADABOOST = "adaboost"
    GRADIENT_BOOSTING = "gradient-boosting"


def classifier_of(name: ClassifierName) -> TreeClassifier:
    """The classifier that a name stands for, at the size that serving can afford."""
    match name:
        case ClassifierName.RANDOM_FOREST:
            return RandomForest(trees=100, depth=10)
        case ClassifierName.ADABOOST:
            return AdaBoost()
        case ClassifierName.GRADIENT_BOOSTING:
            return GradientBoosting()


def _arrays(tree: Any, value: NDArray[np.float64]) -> TreeArrays:
    """A scikit-learn tree with what its nodes add to the score."""
    return TreeArrays(
        feature=torch.from_numpy(tree.feature.astype(np.int64)),
        threshold=torch.from_numpy(tree.threshold.astype(np.float64)),
        left=torch.from_numpy(tree.children_left.astype(np.int64)),
        right=torch.from_numpy(tree.children_right.astype(np.int64)),
        value=torch.from_numpy(value.astype(np.float64)),
    )
