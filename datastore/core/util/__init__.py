"""Small tools of the core that know nothing of it."""
