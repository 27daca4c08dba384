"""The parts of ``demo_app.py``: its clients, its features, its month of history."""
