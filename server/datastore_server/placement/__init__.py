"""The slots of a node: how its placement is stored, enforced and changed."""
