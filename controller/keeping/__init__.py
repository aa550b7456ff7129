"""Copies of the whole database: made while it runs, checked by restoring, thinned out by age."""
