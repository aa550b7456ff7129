"""The emulated mobile network and its modules, written from the standards and the field notes alone.

Nothing here knows the product's drivers: what the two share is the contracts of `simrack.wire` only.
"""
