"""The dashboard: a mountable, read-only blueprint. Pages know no SQL; ``queries`` knows no Flask."""
