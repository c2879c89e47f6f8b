//! A core, some clients, a network that loses what a test wants, and virtual time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rtp::extension::ExtensionKind;
use transport::{CandidatePair, DtlsIdentity, DtlsState, IceState, LocalCandidate, Protocol};

use super::client::{Client, Datagram};
use crate::api::{
    Code, Command, CreateDownTrack, CreateReceiver, DtlsParameters, DtlsRole, EngineConfig, Event,
    HeaderExtension, IceParameters, Id, MediaKind, RtpCodec, StatsCollected,
};
use crate::core::Core;
use crate::egress::{OutputCounters, PacketOutput, Run};

pub const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7882);

pub static IDENTITY: LazyLock<DtlsIdentity> = LazyLock::new(|| DtlsIdentity::generate().unwrap());

/// Header extension ids that everybody uses.
pub const MID: u8 = 3;
pub const TRANSPORT_CC: u8 = 4;
pub const AUDIO_LEVEL: u8 = 5;

pub const VP8: u8 = 96;
pub const OPUS: u8 = 111;
pub const RTX: u8 = 97;

#[derive(Default)]
struct Sent {
    datagrams: VecDeque<Datagram>,
    runs: Vec<Run>,
}

#[derive(Clone, Default)]
struct Output(Rc<RefCell<Sent>>);

impl PacketOutput for Output {
    fn send(&mut self, runs: &[Run], bytes: &[u8]) {
        let mut sent = self.0.borrow_mut();
        for run in runs {
            assert_eq!(run.pair.local, SERVER);
            sent.runs.push(*run);
            for datagram in run.bytes(bytes).chunks(run.segment) {
                sent.datagrams.push_back(Datagram {
                    from: run.pair.local,
                    to: run.pair.remote,
                    bytes: datagram.to_vec(),
                });
            }
        }
    }

    fn retry(&mut self) -> bool {
        false
    }

    fn counters(&self) -> OutputCounters {
        OutputCounters::default()
    }
}

type Loss = Box<dyn FnMut(&Datagram) -> bool>;

pub struct World {
    pub core: Core,
    pub clients: Vec<Client>,
    pub events: Vec<Event>,
    pub now: Instant,
    /// Whether a datagram is lost.
    pub loss: Option<Loss>,
    /// STUN of the client at the first address seems to come from the second, and what is sent
    /// there reaches it.
    pub alias: Option<(SocketAddr, SocketAddr)>,
    /// Runs of timers of the core.
    pub core_timeouts: usize,
    output: Output,
}

impl World {
    pub fn new() -> Self {
        Self::with_config(EngineConfig::default())
    }

    pub fn with_config(config: EngineConfig) -> Self {
        let output = Output::default();
        let candidates = vec![LocalCandidate {
            addr: SERVER,
            protocol: Protocol::Udp,
        }];
        let sink = Box::new(output.clone());
        let now = Instant::now();
        Self {
            core: Core::new(now, 0, config, IDENTITY.clone(), candidates, sink),
            clients: Vec::new(),
            events: Vec::new(),
            now,
            loss: None,
            alias: None,
            core_timeouts: 0,
            output,
        }
    }

    /// Adds a client with the transport `id`, without connecting it. Returns its place.
    pub fn add_client(&mut self, id: Id, ice_lite: bool) -> usize {
        let number = u16::try_from(id).unwrap();
        let ice = server_ice(id);
        let mut client = Client::new(self.now, number);
        self.command(Command::CreateTransport {
            transport: id,
            worker: 0,
            ice: ice.clone(),
            ice_lite,
            controlling: false,
        });
        self.command(Command::SetRemoteParameters {
            transport: id,
            ice: client.ice.clone(),
            dtls: DtlsParameters {
                algorithm: "sha-256".into(),
                fingerprint: IDENTITY.fingerprint().to_string(),
                role: DtlsRole::Server,
            },
            remote_lite: false,
        });
        client.set_remote(self.now, &ice, IDENTITY.fingerprint());
        self.clients.push(client);
        self.clients.len() - 1
    }

    /// Adds a client with the transport `id` and connects it. Returns its place.
    pub fn connect(&mut self, id: Id) -> usize {
        let at = self.add_client(id, true);
        self.run_until(Duration::from_secs(5), |world| world.is_connected(id));
        at
    }

    pub fn is_connected(&self, id: Id) -> bool {
        let ice = self.events.iter().rev().find_map(|event| match event {
            Event::IceStateChanged {
                transport, state, ..
            } if *transport == id => Some(*state),
            _ => None,
        });
        let dtls = self.events.iter().any(|event| {
            matches!(event, Event::DtlsStateChanged { transport, state: DtlsState::Connected, .. }
                if *transport == id)
        });
        ice == Some(IceState::Connected) && dtls
    }

    pub fn command(&mut self, command: Command) {
        self.core.handle_command(self.now, command);
        self.settle();
    }

    /// Delivers everything that is on its way.
    pub fn settle(&mut self) {
        loop {
            self.core.end_batch(self.now);
            self.core.flush();
            self.events.extend(self.core.take_events());
            let mut moved = false;
            for at in 0..self.clients.len() {
                self.clients[at].collect();
                while let Some(mut datagram) = self.clients[at].outbox.pop_front() {
                    moved = true;
                    if let Some((inner, outer)) = self.alias
                        && datagram.from == inner
                        && datagram.bytes[0] < 4
                    {
                        datagram.from = outer;
                    }
                    if !self.is_lost(&datagram) {
                        self.give_core(datagram.from, &mut datagram.bytes);
                    }
                }
            }
            self.core.end_batch(self.now);
            self.core.flush();
            let sent: Vec<_> = self.output.0.borrow_mut().datagrams.drain(..).collect();
            for mut datagram in sent {
                moved = true;
                if let Some((inner, outer)) = self.alias
                    && datagram.to == outer
                {
                    datagram.to = inner;
                }
                if !self.is_lost(&datagram)
                    && let Some(client) = self.clients.iter_mut().find(|c| c.address == datagram.to)
                {
                    client.receive(self.now, datagram.bytes);
                }
            }
            if !moved {
                break;
            }
        }
        self.events.extend(self.core.take_events());
    }

    /// Datagrams that were sent and are not delivered.
    pub fn under_way(&self) -> usize {
        self.output.0.borrow().datagrams.len()
    }

    /// Gives the core one datagram from anywhere.
    pub fn give_core(&mut self, from: SocketAddr, bytes: &mut [u8]) {
        let pair = CandidatePair {
            local: SERVER,
            remote: from,
            protocol: Protocol::Udp,
        };
        self.core.handle_datagram(self.now, pair, bytes);
    }

    pub fn run(&mut self, time: Duration) {
        self.run_while(time, |_| true);
    }

    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        self.run_while(limit, |world| !done(world));
        assert!(done(self), "it did not happen in {limit:?}");
    }

    fn run_while(&mut self, time: Duration, going_on: impl Fn(&Self) -> bool) {
        let end = self.now + time;
        let mut stuck = 0;
        loop {
            self.settle();
            if !going_on(self) {
                return;
            }
            let clients = self.clients.iter_mut();
            let next = clients.filter_map(|client| client.transport.next_timeout());
            let next = next.chain(self.core.next_deadline()).min();
            let Some(next) = next.filter(|&next| next <= end) else {
                self.now = end;
                return;
            };
            stuck = if next > self.now { 0 } else { stuck + 1 };
            assert!(stuck < 1000, "time stands still");
            self.now = self.now.max(next);
            if self.core.next_deadline().is_some_and(|at| at <= self.now) {
                self.core_timeouts += 1;
                self.core.handle_timeout(self.now);
            }
            for client in &mut self.clients {
                if client
                    .transport
                    .next_timeout()
                    .is_some_and(|at| at <= self.now)
                {
                    client.transport.handle_timeout(self.now);
                }
            }
        }
    }

    /// The runs that were sent since the last call.
    pub fn take_runs(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.output.0.borrow_mut().runs)
    }

    pub fn stats(&mut self) -> StatsCollected {
        self.command(Command::CollectStats { request: 7 });
        let before = self.events.len();
        loop {
            self.core.handle_timeout(self.now);
            self.events.extend(self.core.take_events());
            for event in &self.events[before..] {
                if let Event::StatsCollected(stats) = event {
                    return stats.as_ref().clone();
                }
            }
        }
    }

    pub fn drops(&mut self, reason: &str) -> u64 {
        let drops = self.stats().worker.drops_by_reason;
        drops
            .iter()
            .find(|(name, _)| *name == reason)
            .map_or(0, |(_, count)| *count)
    }

    fn is_lost(&mut self, datagram: &Datagram) -> bool {
        self.loss.as_mut().is_some_and(|loss| loss(datagram))
    }

    /// Commands that failed so far: name, subject, code.
    pub fn failures(&self) -> Vec<(&'static str, Id, Code)> {
        let failures = self.events.iter().filter_map(|event| match event {
            Event::CommandFailed {
                command,
                subject,
                code,
                ..
            } => Some((*command, *subject, *code)),
            _ => None,
        });
        failures.collect()
    }
}

pub fn server_ice(id: Id) -> IceParameters {
    IceParameters {
        ufrag: format!("server{id}"),
        pwd: format!("server-{id}-password-22-chars"),
    }
}

pub fn extensions() -> Vec<HeaderExtension> {
    let known = [
        (MID, ExtensionKind::Mid),
        (TRANSPORT_CC, ExtensionKind::TransportCc),
        (AUDIO_LEVEL, ExtensionKind::AudioLevel),
    ];
    let extension = |(id, kind): (u8, ExtensionKind)| HeaderExtension {
        id,
        uri: kind.uri().to_owned(),
    };
    known.map(extension).into()
}

pub fn codec(kind: MediaKind) -> RtpCodec {
    let is_video = kind == MediaKind::Video;
    RtpCodec {
        payload_type: if is_video { VP8 } else { OPUS },
        mime_type: if is_video { "video/vp8" } else { "audio/opus" }.into(),
        clock_rate: if is_video { 90_000 } else { 48_000 },
        channels: if is_video { 0 } else { 2 },
        rtx_payload_type: is_video.then_some(RTX),
        nack: is_video,
        pli: is_video,
        transport_cc: true,
        ..RtpCodec::default()
    }
}

pub fn receiver(id: Id, transport: Id, mid: &str, kind: MediaKind) -> CreateReceiver {
    CreateReceiver {
        receiver: id,
        transport,
        mid: mid.into(),
        kind,
        codecs: vec![codec(kind)],
        header_extensions: extensions(),
        encodings: Vec::new(),
        clock_group: transport,
        screen_share: false,
    }
}

/// A down track whose ssrc is its id.
pub fn down_track(id: Id, transport: Id, receiver: Id, kind: MediaKind) -> CreateDownTrack {
    let ssrc = u32::try_from(id).unwrap();
    CreateDownTrack {
        down_track: id,
        transport,
        receiver,
        mid: "m".into(),
        ssrc,
        rtx_ssrc: (kind == MediaKind::Video).then_some(ssrc + 100_000),
        cname: format!("cname-{id}"),
        codecs: vec![codec(kind)],
        header_extensions: extensions(),
        max_spatial: 2,
        max_temporal: 3,
        muted: false,
        translate_red: false,
        playout_delay: None,
        strip_trailer: false,
    }
}
