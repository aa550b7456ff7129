"""SIP and RTP: the thin layer over the SIP library that box and controller share."""
