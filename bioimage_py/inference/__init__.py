"""Predictions of neural networks, and of any other function on tiles.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .given import OnnxModel, TorchModel
    from .predicting import predict
    from .values import Percentiles
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "OnnxModel": ".given",
            "Percentiles": ".values",
            "TorchModel": ".given",
            "predict": ".predicting",
        },
    )

__all__ = [
    "OnnxModel",
    "Percentiles",
    "TorchModel",
    "predict",
]
