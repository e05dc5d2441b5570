"""How parameters take their steps: an executor decides the speed, never the result.

========  ==============================================================================
gathered  DTensors whose rule needs whole tensors: each is gathered, on every rank
cuda      fused kernels, all parameters of a kind in a few launches
ranks     DTensors whose step needs sums or counts of the other ranks
llvm      elementwise rules in host memory: compiled loops
numpy     elementwise rules in host memory: NumPy on blocks, small tensors in stacks
stacked   matrices on an accelerator, those of one shape together
whole     whole tensors, one by one
graph     whole tensors inside ``torch.compile``
========  ==============================================================================

Each parameter goes to the first executor, in this order, that serves tensors where the parameter
lies and does not refuse it; a step inside a compiled graph is always ``graph``.
``optimizer.explain()`` shows the choice.
"""

from .assignment import NO_GRADIENT as NO_GRADIENT
from .assignment import Explained as Explained
from .assignment import Explanation as Explanation
from .assignment import assign as assign
from .assignment import explain as explain
from .base import Executor as Executor
from .base import Step as Step
from .cuda import CUDA as CUDA
from .gathered import Gathered as Gathered
from .graph import Graph as Graph
from .host import LLVM as LLVM
from .host import NumPyBlocks as NumPyBlocks
from .ranks import Ranks as Ranks
from .stacked import Stacked as Stacked
from .whole import Whole as Whole
