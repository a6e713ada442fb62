"""Which slots a node owns: what it keeps of that, what it refuses for it, and how that changes."""
