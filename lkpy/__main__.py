"""``python -m lkpy``."""

from lkpy.cli.main import main

main()
