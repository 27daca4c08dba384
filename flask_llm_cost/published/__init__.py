"""Published prices: fetched, compared with the ones in use, and written to a prices file.

Only the commands ``prices check`` and ``prices refresh`` come here; nothing is fetched at any other time.
"""
