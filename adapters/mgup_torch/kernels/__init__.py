"""Fused steps on NVIDIA GPUs: all parameters of a kind in a few launches, with the same bits."""

from .fused import FusedStep, refusal, unavailable

__all__ = ["FusedStep", "refusal", "unavailable"]
