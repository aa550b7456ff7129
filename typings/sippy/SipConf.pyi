class SipConf:
    autoconvert_tel_url: bool
