//! A peer: a transport in full ICE mode that controls, DTLS client, with plain RTP in and out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use rtp::RtpHeader;
use rtp::header::{HeaderFields, write_header};
use rtp::rtcp::RtcpWriter;
use rtp::srtp::{MAX_RTCP_OVERHEAD, MAX_RTP_OVERHEAD};
use transport::{
    CandidatePair, DtlsState, Fingerprint, IceCredentials, LocalCandidate, Protocol,
    RemoteCandidate, RemoteDtls, Transport, TransportConfig, TransportEvent,
};

use super::world::{IDENTITY, SERVER};
use crate::api::IceParameters;

#[derive(Clone)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// A received packet.
#[derive(Clone, Debug)]
pub struct Rtp {
    pub header: RtpHeader,
    pub packet: Vec<u8>,
}

impl Rtp {
    pub fn payload(&self) -> &[u8] {
        self.header.payload(&self.packet)
    }
}

pub struct Client {
    pub transport: Transport,
    pub address: SocketAddr,
    pub ice: IceParameters,
    pub rtp: Vec<Rtp>,
    /// Plain compound packets.
    pub rtcp: Vec<Vec<u8>>,
    pub messages: Vec<(u16, Vec<u8>)>,
    pub channels: Vec<(u16, String)>,
    pub outbox: VecDeque<Datagram>,
}

impl Client {
    pub fn new(now: Instant, number: u16) -> Self {
        let address = SocketAddr::from(([10, 0, 0, 2], number));
        let ice = IceParameters {
            ufrag: format!("client{number}"),
            pwd: format!("client-{number}-password-22"),
        };
        let candidate = LocalCandidate {
            addr: address,
            protocol: Protocol::Udp,
        };
        let credentials = IceCredentials {
            ufrag: ice.ufrag.clone(),
            pwd: ice.pwd.clone(),
        };
        let config = TransportConfig {
            controlling: true,
            ..TransportConfig::new(credentials, vec![candidate])
        };
        Self {
            transport: Transport::new(config, &IDENTITY, now),
            address,
            ice,
            rtp: Vec::new(),
            rtcp: Vec::new(),
            messages: Vec::new(),
            channels: Vec::new(),
            outbox: VecDeque::new(),
        }
    }

    pub fn set_remote(&mut self, now: Instant, ice: &IceParameters, fingerprint: &Fingerprint) {
        let dtls = RemoteDtls {
            fingerprint: fingerprint.clone(),
            role_is_client: false,
        };
        let credentials = IceCredentials {
            ufrag: ice.ufrag.clone(),
            pwd: ice.pwd.clone(),
        };
        self.transport.set_remote(now, credentials, &dtls).unwrap();
        let candidate = RemoteCandidate {
            addr: SERVER,
            protocol: Protocol::Udp,
            priority: 2_130_706_431,
            foundation: "1".into(),
            kind: "host".into(),
        };
        self.transport.add_remote_candidate(now, &candidate);
        self.collect();
    }

    pub fn receive(&mut self, now: Instant, mut bytes: Vec<u8>) {
        let pair = CandidatePair {
            local: self.address,
            remote: SERVER,
            protocol: Protocol::Udp,
        };
        match bytes[0] {
            0..=3 => drop(self.transport.handle_stun(now, pair, &bytes)),
            20..=63 => drop(self.transport.handle_dtls(now, pair, &bytes)),
            _ if (192..=223).contains(&bytes[1]) => {
                let srtp = self.transport.srtp_rx().expect("keys");
                let len = srtp.unprotect_rtcp(&mut bytes).expect("SRTCP");
                bytes.truncate(len);
                self.rtcp.push(bytes);
            }
            _ => {
                let srtp = self.transport.srtp_rx().expect("keys");
                let len = srtp.unprotect_rtp(&mut bytes).expect("SRTP");
                bytes.truncate(len);
                let header = RtpHeader::parse(&bytes).unwrap();
                self.rtp.push(Rtp {
                    header,
                    packet: bytes,
                });
            }
        }
        self.collect();
    }

    pub fn collect(&mut self) {
        while let Some(event) = self.transport.poll_event() {
            match event {
                TransportEvent::Data {
                    stream_id, bytes, ..
                } => self.messages.push((stream_id, bytes)),
                TransportEvent::ChannelOpened {
                    stream_id, label, ..
                } => self.channels.push((stream_id, label)),
                TransportEvent::Dtls { state, reason, .. } => {
                    assert_ne!(state, DtlsState::Failed, "{reason}");
                }
                TransportEvent::Ice { .. } | TransportEvent::ChannelClosed { .. } => {}
            }
        }
        while let Some(transmit) = self.transport.poll_transmit() {
            self.outbox.push_back(Datagram {
                from: transmit.local,
                to: transmit.remote,
                bytes: transmit.bytes,
            });
        }
    }

    /// Seals and sends a packet.
    pub fn send_rtp(
        &mut self,
        fields: &HeaderFields<'_>,
        extensions: &[(u8, &[u8])],
        media: &[u8],
    ) {
        let mut packet = vec![0; 2048];
        let header_len = write_header(&mut packet, fields, extensions.iter().copied()).unwrap();
        let len = header_len + media.len();
        packet[header_len..len].copy_from_slice(media);
        packet.truncate(len + MAX_RTP_OVERHEAD);
        let srtp = self.transport.srtp_tx().expect("keys");
        let sealed = srtp.protect_rtp(&mut packet, header_len, len).unwrap();
        packet.truncate(sealed);
        self.send(packet);
    }

    pub fn send_rtcp(&mut self, write: impl FnOnce(&mut RtcpWriter<'_>)) {
        let mut packet = Vec::new();
        write(&mut RtcpWriter::new(&mut packet));
        self.send_rtcp_bytes(packet);
    }

    pub fn send_rtcp_bytes(&mut self, mut packet: Vec<u8>) {
        let plain = packet.len();
        packet.resize(plain + MAX_RTCP_OVERHEAD, 0);
        let srtp = self.transport.srtp_tx().expect("keys");
        let sealed = srtp.protect_rtcp(&mut packet, plain).unwrap();
        packet.truncate(sealed);
        self.send(packet);
    }

    pub fn send(&mut self, bytes: Vec<u8>) {
        self.outbox.push_back(Datagram {
            from: self.address,
            to: SERVER,
            bytes,
        });
    }

    /// Sequence numbers received on `ssrc`, in order of arrival.
    pub fn sequences(&self, ssrc: u32) -> Vec<u16> {
        let packets = self.rtp.iter().filter(|rtp| rtp.header.ssrc == ssrc);
        packets.map(|rtp| rtp.header.sequence).collect()
    }

    /// All RTCP packets received that `pick` finds interesting.
    pub fn rtcp_of<T>(&self, pick: impl Fn(&rtp::rtcp::Packet<'_>) -> Option<T>) -> Vec<T> {
        let packets = self.rtcp.iter().flat_map(|bytes| rtp::rtcp::parse(bytes));
        packets
            .filter_map(|packet| pick(&packet.unwrap()))
            .collect()
    }
}
