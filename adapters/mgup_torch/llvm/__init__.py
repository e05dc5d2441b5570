"""Steps in host memory as machine code, where llvmlite is installed (the extra ``cpu``)."""

from .codegen import code_for as code_for
from .codegen import count as count
from .codegen import refusal as refusal
from .step import CompiledStep as CompiledStep
