"""The placement of a cluster from outside its nodes: comparing, forming, planning and changing it.

`assignment`, `comparison` and `planning` are pure decisions; `nodes` makes the calls; `moving` carries out a plan.
"""
