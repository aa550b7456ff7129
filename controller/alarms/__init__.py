"""Alarms: opened and closed by one function."""
