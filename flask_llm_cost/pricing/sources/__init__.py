"""Published price data as entries of the bundled form: one module per source, and how they come together.

The build of the bundled catalogue and ``prices refresh`` share it.
"""
