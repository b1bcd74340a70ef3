"""Statistics of volumes of any size."""

from .statistics import Summary, max, mean, mean_and_std, min, min_and_max, std, summary, unique

__all__ = ["Summary", "max", "mean", "mean_and_std", "min", "min_and_max", "std", "summary", "unique"]
