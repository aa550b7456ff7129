"""What crosses a process boundary: topics, messages, ids, causes, time, and the MQTT client."""
