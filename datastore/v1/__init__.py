"""Generated from protos/datastore/v1 by tools/generate.py; do not edit."""
