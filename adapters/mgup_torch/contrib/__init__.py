"""What is rare or experimental."""
