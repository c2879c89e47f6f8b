//! The `is` agent's vocabulary and ours.
//!
//! The agent takes only messages with every attribute that RFC 8445 asks for; what small stacks leave
//! out is completed here.

use std::net::SocketAddr;

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceCreds};

use super::full::KEEPALIVE;
use crate::stun::{self, Check, Message};
use crate::types::{CandidatePair, IceCredentials, LocalCandidate, Protocol};

/// Unanswered checks after which `is` gives a pair up: 19 s, later than ICE itself fails.
const MAX_RETRANSMITS: usize = 10;
/// Of an address that checked us and named no priority (RFC 8445 5.1.2.1, peer-reflexive).
pub(super) const PRFLX_PRIORITY: u32 = 110 << 24 | 65_535 << 8 | 255;

/// What a request says. Who names no role has the other one, as in pion.
pub(super) fn complete(request: &Message<'_>, priority: u32, their_role_controls: bool) -> Check {
    let said = Check::of(request);
    Check {
        priority,
        controlling: said.map_or(their_role_controls, |check| check.controlling),
        tie_breaker: said.map_or(0, |check| check.tie_breaker),
        nominates: request.use_candidate(),
    }
}

/// An answer with all that the agent reads. One without XOR-MAPPED-ADDRESS says nothing of a NAT.
pub(super) fn complete_answer(
    answer: &Message<'_>,
    local: SocketAddr,
    pwd: &str,
) -> Option<Vec<u8>> {
    const ROLE_CONFLICT: u16 = 487;
    let id = answer.trans_id();
    if answer.is_successful_binding_response() {
        return stun::success(id, answer.mapped_address().unwrap_or(local), pwd);
    }
    let is_conflict = answer.error_code() == Some(ROLE_CONFLICT);
    is_conflict.then(|| stun::role_conflict(id, pwd)).flatten()
}

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
