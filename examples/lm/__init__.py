"""The parts of the language-model example; only `torch_trainer` knows a framework."""
