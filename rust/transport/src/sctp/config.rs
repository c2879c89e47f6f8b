//! How associations and streams are set up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use sctp_proto::{
    Endpoint, EndpointConfig, ReliabilityType, ServerConfig, Stream, TransportConfig,
};

use crate::dcep::{Open, Reliability};
use crate::limits;

/// SCTP knows its peer by an address; behind DTLS there is only one.
pub(super) const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5_000);
/// Retransmission timeouts in milliseconds. The least must exceed the peer's delayed
/// acknowledgement (200 ms), the most should not outlast an outage that ICE survives by much.
const RTO_MS: (u64, u64, u64) = (1_000, 400, 3_000);

static ENDPOINT: LazyLock<Arc<EndpointConfig>> = LazyLock::new(|| {
    let mut config = EndpointConfig::new();
    config.max_payload_size(limits::SCTP_PAYLOAD);
    Arc::new(config)
});

/// Incoming messages are measured by the guard, so that one which is too large costs its channel and no
/// more: the association would end itself. Data is retransmitted until ICE decides that the peer is gone.
fn transport(init_retransmits: Option<usize>) -> Arc<TransportConfig> {
    Arc::new(
        TransportConfig::default()
            .with_max_receive_buffer_size(limits::SCTP_RECEIVE_BUFFER)
            .with_max_receive_message_size(u32::MAX)
            .with_max_send_message_size(limits::MESSAGE_MAX as u32)
            .with_max_num_inbound_streams(limits::SCTP_STREAMS)
            .with_max_num_outbound_streams(limits::SCTP_STREAMS)
            .with_max_init_retransmits(init_retransmits)
            .with_max_data_retransmits(None)
            .with_rto_initial_ms(RTO_MS.0)
            .with_rto_min_ms(RTO_MS.1)
            .with_rto_max_ms(RTO_MS.2),
    )
}

/// For associations that we begin.
pub(super) static CLIENT: LazyLock<Arc<TransportConfig>> =
    LazyLock::new(|| transport(Some(limits::SCTP_INIT_RETRANSMITS)));

static SERVER: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let mut config = ServerConfig::new();
    config.transport = transport(None);
    Arc::new(config)
});

pub(super) fn new_endpoint() -> Endpoint {
    Endpoint::new(Arc::clone(&ENDPOINT), Some(Arc::clone(&SERVER)))
}

pub(super) fn configure(stream: &mut Stream<'_>, open: &Open) {
    let (kind, value) = match open.reliability {
        Reliability::Reliable => (ReliabilityType::Reliable, 0),
        Reliability::MaxRetransmits(count) => (ReliabilityType::Rexmit, count),
        Reliability::MaxLifeTime(milliseconds) => (ReliabilityType::Timed, milliseconds),
    };
    // Fails only when the stream is gone, which its own event reports.
    let _gone = stream.set_reliability_params(!open.ordered, kind, value);
}

/// Whether the packet begins with INIT (RFC 9260 3.1, 3.3.2).
pub(super) fn is_init(packet: &[u8]) -> bool {
    const INIT: u8 = 1;
    packet.get(12) == Some(&INIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_an_init() {
        assert!(is_init(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
        assert!(!is_init(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]));
        assert!(!is_init(&[1; 12]));
    }
}
