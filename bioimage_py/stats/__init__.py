"""Statistics of volumes of any size."""

from .statistics import max, mean, mean_and_std, min, min_and_max, std, unique

__all__ = ["max", "mean", "mean_and_std", "min", "min_and_max", "std", "unique"]
