"""A campaign of faults: the road is walked while something breaks at a random, seeded moment, and must still be whole.

python -m tests.faults --seeds 1-100
"""
