//! Where a down track writes its packets.

/// Most bytes of header that a down track puts before a payload, beyond what the source packet
/// had: fixed header, mid, transport-cc, abs-send-time, and the original sequence number of RTX.
pub const MAX_HEADER_GROWTH: usize = 64;

/// Room for one outgoing packet.
#[derive(Debug)]
pub struct Reserved<'a> {
    /// Where to write the plain packet. What has to follow it (the SRTP tag) is the sink's
    /// business and not part of this slice.
    pub buf: &'a mut [u8],
    /// The transport-wide sequence number that the packet has if it is committed.
    pub transport_sequence: u16,
}

/// The send batch of one transport, as a down track sees it.
///
/// The implementation seals each committed packet in place; nothing is allocated and nothing is
/// copied again.
pub trait PacketSink {
    /// Room for the next packet, or `None` when the batch is full or the transport cannot send.
    /// Reserving again without a commit gives the same room.
    fn reserve(&mut self) -> Option<Reserved<'_>>;

    /// Takes the packet written into the room reserved last: `header_len` bytes of RTP header,
    /// `len` bytes in all. `uses_transport_sequence` tells whether its transport-wide sequence
    /// number was written into it: it is not if none was negotiated, nor if the packet may have to
    /// be sent again as it is.
    ///
    /// Packets with the same ssrc and sequence number are the same byte for byte as long as the
    /// number has not wrapped, as AES-GCM demands.
    fn commit(&mut self, header_len: usize, len: usize, uses_transport_sequence: bool);
}
