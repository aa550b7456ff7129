"""A call's SIP messages as they went over the wire: kept, read, and given away as pcap or HEP3."""
