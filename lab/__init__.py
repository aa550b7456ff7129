"""The emulated mobile network that demo and tests run on."""
