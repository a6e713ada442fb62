"""The placement of a cluster, seen from outside its nodes: compared, formed, planned and changed.

`assignment`, `comparison` and `planning` decide, and are pure; `nodes` makes the calls, `moving` carries out a plan.
"""
