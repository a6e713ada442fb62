"""The data that everything else works on: keys, values, queries, entries, errors, limits. Pure."""
