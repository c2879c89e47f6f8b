//! SCTP packets as bytes (RFC 9260 3): walking the chunks and sealing what was changed.

/// Length of the common header: ports, verification tag, checksum.
pub(super) const HEADER: usize = 12;

/// Chunk types (RFC 9260 3.2, RFC 6525 3.1, RFC 3758 3.2).
pub(in crate::sctp) mod kind {
    pub const DATA: u8 = 0;
    pub const INIT: u8 = 1;
    pub const INIT_ACK: u8 = 2;
    pub const SACK: u8 = 3;
    pub const HEARTBEAT: u8 = 4;
    pub const ABORT: u8 = 6;
    pub const SHUTDOWN: u8 = 7;
    pub const SHUTDOWN_ACK: u8 = 8;
    pub const ERROR: u8 = 9;
    pub const COOKIE_ECHO: u8 = 10;
    pub const COOKIE_ACK: u8 = 11;
    pub const SHUTDOWN_COMPLETE: u8 = 14;
    pub const RECONFIG: u8 = 130;
    pub const FORWARD_TSN: u8 = 192;
}

/// Parameter types (RFC 9260 3.3.5, RFC 6525 4, RFC 5061 4.2.7).
mod param {
    pub const HEARTBEAT_INFO: u16 = 1;
    pub const OUTGOING_RESET: u16 = 13;
    pub const RESET_RESPONSE: u16 = 16;
    pub const SUPPORTED_EXTENSIONS: u16 = 0x8008;
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(in crate::sctp) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// One chunk: its header and value, without padding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a>(pub &'a [u8]);

impl<'a> Chunk<'a> {
    pub fn kind(self) -> u8 {
        self.0[0]
    }

    pub fn flags(self) -> u8 {
        self.0[1]
    }

    /// Whether it is of a type that associations take, and as long as its content says. Anything
    /// else would be read in another way than here, or have the whole packet thrown away.
    pub fn is_exact(self) -> bool {
        let (bytes, len) = (self.0, self.0.len());
        match self.kind() {
            kind::DATA => len > 16,
            kind::INIT | kind::INIT_ACK => len >= 20,
            kind::SACK => {
                len >= 16
                    && len
                        == 16
                            + 4 * (usize::from(u16_at(bytes, 12)) + usize::from(u16_at(bytes, 14)))
            }
            kind::HEARTBEAT => {
                len >= 8
                    && u16_at(bytes, 4) == param::HEARTBEAT_INFO
                    && usize::from(u16_at(bytes, 6)) == len - 4
            }
            kind::ERROR | kind::COOKIE_ECHO => true,
            kind::SHUTDOWN => len == 8,
            kind::SHUTDOWN_ACK | kind::COOKIE_ACK | kind::SHUTDOWN_COMPLETE => len == 4,
            kind::RECONFIG => self.resets().is_some(),
            kind::FORWARD_TSN => len >= 8 && len % 4 == 0,
            _ => false,
        }
    }

    /// Whether who does not know its type goes on behind it (RFC 9260 3.2).
    pub fn may_be_skipped(self) -> bool {
        self.kind() & 0x80 != 0 && !matches!(self.kind(), kind::RECONFIG | kind::FORWARD_TSN)
    }

    /// The gap blocks of a SACK, if each one lies behind the last (RFC 9260 3.3.4).
    pub fn has_ascending_gaps(self) -> bool {
        let blocks = usize::from(u16_at(self.0, 12));
        let mut last = 0;
        self.0[16..16 + 4 * blocks].chunks_exact(4).all(|block| {
            let (start, end) = (u16_at(block, 0), u16_at(block, 2));
            let ascends = start > last && start <= end;
            last = end;
            ascends
        })
    }

    /// Stream and sequence number of each entry of a FORWARD-TSN.
    pub fn forwarded(self) -> impl Iterator<Item = (u16, u16)> + Clone + 'a {
        let entries = self.0[8..].chunks_exact(4);
        entries.map(|entry| (u16_at(entry, 0), u16_at(entry, 2)))
    }

    /// The request to reset streams in a RE-CONFIG, `Some(None)` if it has responses alone, and
    /// `None` if it is malformed or asks for what data channels have no use for (RFC 8831 6.7).
    pub fn resets(self) -> Option<Option<Reset<'a>>> {
        let mut rest = self.0.get(4..)?;
        let (mut request, mut count) = (None, 0);
        while !rest.is_empty() {
            if rest.len() < 4 {
                return None;
            }
            let len = usize::from(u16_at(rest, 2));
            let value = rest.get(4..len)?;
            match u16_at(rest, 0) {
                param::OUTGOING_RESET if request.is_none() && len >= 16 && len % 2 == 0 => {
                    request = Some(Reset {
                        sequence: u32_at(value, 0),
                        last_tsn: u32_at(value, 8),
                        streams: &value[12..],
                    });
                    // Nothing may follow it that we take.
                    rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
                    count += 1;
                    if !rest.is_empty() {
                        return None;
                    }
                }
                param::RESET_RESPONSE if len == 12 => {
                    rest = &rest[len..];
                    count += 1;
                }
                _ => return None,
            }
        }
        (1..=2).contains(&count).then_some(request)
    }

    /// Whether INIT or INIT ACK says that the peer knows FORWARD-TSN.
    pub fn supports_forward_tsn(self) -> bool {
        let mut rest = &self.0[20..];
        while rest.len() >= 4 {
            let len = usize::from(u16_at(rest, 2));
            let Some(value) = rest.get(4..len) else {
                return false;
            };
            if u16_at(rest, 0) == param::SUPPORTED_EXTENSIONS && value.contains(&kind::FORWARD_TSN)
            {
                return true;
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        false
    }
}

/// An Outgoing SSN Reset Request (RFC 6525 4.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset<'a> {
    pub sequence: u32,
    pub last_tsn: u32,
    streams: &'a [u8],
}

impl Reset<'_> {
    /// The streams it names; none stands for all.
    pub fn streams(&self) -> impl Iterator<Item = u16> {
        self.streams.chunks_exact(2).map(|id| u16_at(id, 0))
    }
}

/// The chunks of a packet. An item of `None`, the last one, says that what follows is malformed.
pub(super) struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    pub fn of(packet: &'a [u8]) -> Self {
        let rest = packet.get(HEADER..).unwrap_or_default();
        Self { rest }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Option<Chunk<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        if rest.len() < 4 {
            return Some(None);
        }
        let len = usize::from(u16_at(rest, 2));
        let Some(chunk) = rest.get(..len).filter(|chunk| chunk.len() >= 4) else {
            return Some(None);
        };
        // The last one may lack its padding.
        self.rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Some(Chunk(chunk)))
    }
}

/// Whether the padding of the last chunk is there and zero, as associations want it.
pub(super) fn is_padded(packet: &[u8]) -> bool {
    let mut at = HEADER;
    while at + 4 <= packet.len() {
        let len = usize::from(u16_at(packet, at + 2)).max(4);
        let end = at + len.next_multiple_of(4);
        if end > packet.len() {
            return false;
        }
        if end == packet.len() {
            return packet[at + len..].iter().all(|byte| *byte == 0);
        }
        at = end;
    }
    false
}

/// Appends a chunk with its padding.
pub(super) fn push(packet: &mut Vec<u8>, chunk: &[u8]) {
    packet.extend_from_slice(chunk);
    packet.resize(packet.len().next_multiple_of(4), 0);
}

/// Writes the checksum.
pub(in crate::sctp) fn seal(packet: &mut [u8]) {
    packet[8..12].fill(0);
    let sum = crc32c(0, packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
}

/// Whether the packet has a header, and its checksum is right.
pub(super) fn is_sealed(packet: &[u8]) -> bool {
    if packet.len() < HEADER + 4 {
        return false;
    }
    let sum = crc32c(0, &packet[..8]);
    let sum = crc32c(sum, &[0; 4]);
    let sum = crc32c(sum, &packet[12..]);
    packet[8..12] == sum.to_le_bytes()
}

/// Tables for eight bytes at a time.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[table - 1][byte];
            tables[table][byte] = (crc >> 8) ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// CRC32c (RFC 9260 appendix A) of what had the checksum `sum`, with `bytes` behind it.
fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    let mut crc = !sum;
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        let low = crc ^ u32::from_le_bytes([eight[0], eight[1], eight[2], eight[3]]);
        let [a, b, c, d] = low.to_le_bytes().map(usize::from);
        let [e, f, g, h] = [eight[4], eight[5], eight[6], eight[7]].map(usize::from);
        crc = TABLES[7][a]
            ^ TABLES[6][b]
            ^ TABLES[5][c]
            ^ TABLES[4][d]
            ^ TABLES[3][e]
            ^ TABLES[2][f]
            ^ TABLES[1][g]
            ^ TABLES[0][h];
    }
    for byte in eights.remainder() {
        crc = (crc >> 8) ^ TABLES[0][usize::from(crc as u8 ^ byte)];
    }
    !crc
}
