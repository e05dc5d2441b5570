"""The parts of the language-model example; only the trainers know a framework."""
