"""How a parameter takes its step: an executor decides the speed, never the result."""
