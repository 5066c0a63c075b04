"""How speed is measured: ``python -m benchmarks``. Not installed with the package.

``contestant`` and ``lineup`` say who takes part, ``build`` makes networks and exported files, ``worker`` is one contestant's
process, ``race`` lets them take turns, ``pipelines`` measures input pipelines, ``tables`` and ``plot`` show results.
"""
