"""Configuration: the settings, the Casbin model, a commented sample and the demo estate.

Only the files that start processes and commands (`proxy/app.py`, `serving.py`, `cli.py`) import this folder;
what the others need is handed to them.
"""
