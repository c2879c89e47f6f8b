//! One peer connection, sans-IO: ICE, DTLS, SRTP, SCTP.
