"""``python -m unhaze`` is the command ``unhaze``."""

from unhaze.cli import main

if __name__ == "__main__":
    main()
