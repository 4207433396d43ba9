"""`python -m benchcore`."""

from benchcore.cli.main import main

main()
