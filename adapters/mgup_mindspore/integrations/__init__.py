"""MGUP in training frameworks of MindSpore, which are imported only where they are used."""
