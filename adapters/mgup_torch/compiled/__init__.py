"""Steps in host memory as machine code, where llvmlite is installed (the extra ``cpu``)."""

from .loops import code_for as code_for
from .step import CompiledStep as CompiledStep
