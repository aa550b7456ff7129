"""The control room: pages and HTTP API."""
