"""The simrack command."""
