"""Speed and size bounds, as ratios within one run: ``make bench`` (``python -m benchmarks``).

What belongs here: programs that start the simulator in its own process, run the product and a
yardstick beside it in processes of their own, and compare. What does not: timed unit tests.
"""
