//! The `is` agent's vocabulary and ours.

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceCreds};

use super::full::KEEPALIVE;
use crate::types::{CandidatePair, IceCredentials, LocalCandidate, Protocol};

/// Unanswered checks after which `is` gives a pair up: 19 s, later than ICE itself fails.
const MAX_RETRANSMITS: usize = 10;

pub(super) fn stun_packet(pair: CandidatePair, message: StunMessage<'_>) -> StunPacket<'_> {
    StunPacket {
        proto: to_is(pair.protocol),
        source: pair.remote,
        destination: pair.local,
        message,
    }
}

pub(super) fn new_agent(
    local: &IceCredentials,
    candidates: &[LocalCandidate],
    controlling: bool,
) -> IceAgent {
    let mut agent = IceAgent::new(creds(local));
    agent.set_controlling(controlling);
    agent.set_max_stun_rto(KEEPALIVE);
    agent.set_max_stun_retransmits(MAX_RETRANSMITS);
    for candidate in candidates {
        if let Ok(host) = Candidate::host(candidate.addr, to_is(candidate.protocol)) {
            agent.add_local_candidate(host);
        }
    }
    agent
}

pub(super) fn creds(credentials: &IceCredentials) -> IceCreds {
    IceCreds {
        ufrag: credentials.ufrag.clone(),
        pass: credentials.pwd.clone(),
    }
}

pub(super) fn to_is(protocol: Protocol) -> is::Protocol {
    match protocol {
        Protocol::Udp => is::Protocol::Udp,
        Protocol::Tcp => is::Protocol::Tcp,
    }
}

pub(super) fn from_is(protocol: is::Protocol) -> Protocol {
    match protocol {
        is::Protocol::Udp => Protocol::Udp,
        _ => Protocol::Tcp,
    }
}
