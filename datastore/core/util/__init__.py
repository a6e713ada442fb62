"""Small tools under their documented path."""
