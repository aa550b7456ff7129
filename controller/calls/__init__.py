"""Calls in progress: two legs, attempts, records."""
