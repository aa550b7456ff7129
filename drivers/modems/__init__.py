"""One folder per module family, holding only its differences."""
