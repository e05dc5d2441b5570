"""Kernels for NVIDIA GPUs: all parameters of a kind in a few launches, with the same bits.

They are written in Triton, know no framework, and work on addresses: :class:`plan.Plan` launches
them on a :class:`device.Device`, which PyTorch's and JAX's packages lend it.
"""
