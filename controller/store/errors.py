"""Errors of the store."""


class StoreError(Exception):
    """Something about the database went wrong."""


class StoreDown(StoreError):
    """The database can't be written or read now (disk full, locked, gone); trying again later may help."""


class StoreRefused(StoreError):
    """The database refused this one piece of work (a row that stands already, a bad value); trying again won't help."""
