"""The command ``unhaze``: one file per sub-command; files whose name begins with an underscore are machinery.

Every module here imports only typer, the standard library and light modules of unhaze at its top, so that ``--help``
answers at once; what is heavy is imported by the function that needs it.
"""

from unhaze.cli._app import app, main

__all__ = ["app", "main"]
