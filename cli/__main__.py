"""`python -m simrack.cli` is the `simrack` command."""

from simrack.cli.main import main

main()
