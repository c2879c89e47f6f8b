"""The media half of a simulated client: one module per concern.

``link``     ICE and DTLS through aiortc, with a fast path for SRTP
``sdp``      our offers and answers, theirs read
``receive``  counting, NACK, receiver reports, transport-cc from plain RTP headers
``send``     paced tracks with simulcast, RTX, sender reports, key frames on request
"""
