"""Refusals at a step, before anything changes: gradients, parameters and state fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mindspore import Parameter, Tensor, nn


class Fit(nn.Cell):
    """Checks that gradients fit the parameters, and these what they were when their state was made.

    Part of the graph, so plainly written: there it is checked whenever the graph is compiled.

    Args:
        parameters: of the optimizer.
        state: of each, by the rule's names.
    """

    def __init__(
        self, parameters: Sequence[Parameter], state: Sequence[dict[str, Parameter]]
    ) -> None:
        super().__init__(auto_prefix=False)
        # Plain tuples: the parameters are the network's and the optimizer's, not this cell's.
        self.parameters = tuple(parameters)
        self.names = tuple(p.name for p in parameters)
        self.held = tuple(
            (p, *arrays.values()) for p, arrays in zip(parameters, state, strict=True)
        )
        self.labels = tuple(("it", *(f"its {name}" for name in arrays)) for arrays in state)
        self.shapes = tuple(tuple(x.shape for x in held) for held in self.held)
        self.dtypes = tuple(tuple(x.dtype for x in held) for held in self.held)

    def construct(self, gradients: Sequence[Tensor]) -> None:
        """Check what a step is given.

        Raises:
            ValueError, TypeError: naming the parameter, with the remedy.
        """
        if not isinstance(gradients, (tuple, list)):
            raise TypeError(
                "the gradients must be a tuple with one for each parameter: give value_and_grad "
                "the optimizer's parameters as its weights."
            )
        if len(gradients) != len(self.parameters):
            raise ValueError(
                f"{len(gradients)} gradients were given for {len(self.parameters)} parameters: "
                "give one for each, in the order of optimizer.parameters, and None for a "
                "parameter that has none."
            )
        for i in range(len(self.parameters)):
            if gradients[i] is not None:
                self.check(i, gradients[i])

    def check(self, i: int, gradient: Any) -> None:
        """Check one parameter."""
        for j in range(len(self.held[i])):
            if self.held[i][j].shape != self.shapes[i][j]:
                raise ValueError(
                    f"parameter {self.names[i]}: {self.labels[i][j]} has shape "
                    f"{self.held[i][j].shape}, but had {self.shapes[i][j]} when the optimizer was "
                    "made: make a new optimizer for parameters that have changed."
                )
            if self.held[i][j].dtype != self.dtypes[i][j]:
                raise ValueError(
                    f"parameter {self.names[i]}: {self.labels[i][j]} has dtype "
                    f"{self.held[i][j].dtype}, but had {self.dtypes[i][j]} when the optimizer was "
                    "made: make a new optimizer for parameters that have changed."
                )
        if not isinstance(gradient, Tensor):
            raise TypeError(
                f"the gradient of parameter {self.names[i]} is no dense Tensor: "
                "ranking needs every coordinate's score. Give a Tensor; of a layer "
                "with sparse gradients, use sparse=False."
            )
        if gradient.shape != self.shapes[i][0]:
            raise ValueError(
                f"the gradient of parameter {self.names[i]} has shape {gradient.shape}, "
                f"but the parameter has {self.shapes[i][0]}: they must agree."
            )
        if gradient.dtype != self.dtypes[i][0]:
            raise TypeError(
                f"the gradient of parameter {self.names[i]} is {gradient.dtype}, but the "
                f"parameter is {self.dtypes[i][0]}: they must agree."
            )
