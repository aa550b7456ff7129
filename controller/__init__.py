"""The centre: fleet, routing, calls, records and alarms."""
