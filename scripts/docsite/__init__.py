"""What the documentation site makes of the package itself when it is built: reference, commands and figures."""
