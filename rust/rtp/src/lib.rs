//! RTP, RTCP, SRTP and codec descriptors: bytes in, bytes out.
