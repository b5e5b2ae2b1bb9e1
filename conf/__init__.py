"""Configuration: the settings, the Casbin model, a commented sample and the demo estate.

Only `proxy/app.py` and `proxy/cli.py` import this folder; what the others need is handed to them.
"""
