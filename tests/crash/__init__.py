"""The crash proof: processes that record and ship are killed at random moments, and then everything is counted.

``events`` makes calls that can be checked by their id, ``workers`` is what gets killed, ``fleet`` starts and kills it
and hears what was acknowledged, ``cluster`` is a PostgreSQL to stop in the middle of its work, ``rounds`` puts them
together, ``account`` counts.
"""
