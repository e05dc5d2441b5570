"""What users write is checked here, and never run: it holds slips."""

collect_ignore_glob = ["user_*.py"]
