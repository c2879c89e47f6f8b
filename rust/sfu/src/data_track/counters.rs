//! What a published data track has sent.

use super::DataTrackHeader;

/// Totals of a published data track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataTrackStats {
    /// Packets, without those that came again.
    pub packets: u64,
    /// Bytes of all packets with their headers.
    pub bytes: u64,
    /// Frames whose last packet came.
    pub frames: u64,
    /// Packets that never came.
    pub packets_lost: u64,
}

/// Counts packets and, by their sequence numbers, those that are missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataTrackCounters {
    stats: DataTrackStats,
    highest: Option<u16>,
}

impl DataTrackCounters {
    /// Takes a packet of `len` bytes into account.
    pub fn count(&mut self, header: &DataTrackHeader, len: usize) {
        let stats = &mut self.stats;
        stats.bytes += len as u64;
        match self
            .highest
            .map(|highest| header.sequence.wrapping_sub(highest))
        {
            Some(0) => return,
            // Late: it was counted as lost.
            Some(ahead) if ahead >= 1 << 15 => {
                stats.packets_lost = stats.packets_lost.saturating_sub(1);
            }
            ahead => {
                stats.packets_lost += u64::from(ahead.unwrap_or(1)) - 1;
                self.highest = Some(header.sequence);
            }
        }
        stats.packets += 1;
        stats.frames += u64::from(header.ends_frame);
    }

    /// The totals.
    pub fn stats(&self) -> DataTrackStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_lost_until_they_are_filled() {
        let mut counters = DataTrackCounters::default();
        for sequence in [65_534u16, 65_535, 2, 2, 1] {
            let mut packet = [0; 12];
            packet[0] = u8::from(sequence == 1) << 3;
            packet[4..6].copy_from_slice(&sequence.to_be_bytes());
            counters.count(&DataTrackHeader::parse(&packet).unwrap(), 12);
        }
        let expected = DataTrackStats {
            packets: 4,
            bytes: 60,
            frames: 1,
            packets_lost: 1,
        };
        assert_eq!(counters.stats(), expected);
    }
}
