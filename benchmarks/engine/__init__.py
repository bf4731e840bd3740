"""The engine beside its peers: `python -m benchmarks.engine` from the repository, or `make bench`.

One process a library, started once and measured in turn: in one process the thread pools of two libraries slow
each other down. Every lane is compared with an fp64 run first; one that fails the comparison shows no speed.
"""
