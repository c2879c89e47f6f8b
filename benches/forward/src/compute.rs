//! The engine's own work per forwarded packet: the worker's core in memory, under virtual time.
//!
//! No socket and no kernel: what is timed is demultiplexing, SRTP both ways, the ring, forwarding,
//! feedback and timers. The first byte of the clients' side is not in it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use engine::api::EngineConfig;
use engine::core::Core;
use engine::egress::{OutputCounters, PacketOutput, Run};
use transport::{CandidatePair, DtlsIdentity, LocalCandidate, Protocol, Transport, TransportEvent};

use crate::cpu::thread_cpu_us;
use crate::peers::{Stream, client_transport, is_media};
use crate::{FRAME, PAYLOAD, serve};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7882);
/// Frames that are timed, whatever the number of tracks.
const TIMED_PACKETS: usize = 400_000;

/// Counts media and keeps the rest for the clients.
#[derive(Default)]
struct Sent {
    media: u64,
    control: VecDeque<(SocketAddr, Vec<u8>)>,
}

#[derive(Clone, Default)]
struct Output(Rc<RefCell<Sent>>);

impl PacketOutput for Output {
    fn send(&mut self, runs: &[Run], bytes: &[u8]) {
        let mut sent = self.0.borrow_mut();
        for run in runs {
            let bytes = run.bytes(bytes);
            if is_media(bytes) {
                sent.media += run.count() as u64;
                continue;
            }
            for datagram in bytes.chunks(run.segment) {
                sent.control.push_back((run.pair.remote, datagram.to_vec()));
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

struct World {
    core: Core,
    clients: Vec<Transport>,
    output: Output,
    now: Instant,
}

fn address(client: usize) -> SocketAddr {
    let [high, low] = (client as u16).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 0, 1 + high, low), 5000))
}

impl World {
    fn new(subscribers: usize, tracks: usize) -> Self {
        let identity = DtlsIdentity::generate().expect("a certificate");
        let output = Output::default();
        let candidate = LocalCandidate {
            addr: SERVER,
            protocol: Protocol::Udp,
        };
        let now = Instant::now();
        let mut core = Core::new(
            now,
            0,
            EngineConfig::default(),
            identity.clone(),
            vec![candidate],
            Box::new(output.clone()),
        );
        let fingerprint = identity.fingerprint().to_string();
        for command in serve::set_up(&fingerprint, subscribers + 1, tracks) {
            core.handle_command(now, command);
        }
        let clients = (0..=subscribers)
            .map(|index| {
                client_transport(index, address(index), SERVER, &fingerprint, &identity, now)
            })
            .collect();
        World {
            core,
            clients,
            output,
            now,
        }
    }

    /// Lets everybody say what they have to say, and time pass.
    fn step(&mut self, by: Duration) -> usize {
        self.now += by;
        let mut connected = 0;
        for (index, client) in self.clients.iter_mut().enumerate() {
            if client.next_timeout().is_some_and(|at| at <= self.now) {
                client.handle_timeout(self.now);
            }
            while let Some(mut transmit) = client.poll_transmit() {
                let pair = CandidatePair {
                    local: SERVER,
                    remote: address(index),
                    protocol: Protocol::Udp,
                };
                self.core
                    .handle_datagram(self.now, pair, &mut transmit.bytes);
            }
            while let Some(event) = client.poll_event() {
                if let TransportEvent::Dtls { reason, .. } = event {
                    assert!(reason.is_empty(), "DTLS: {reason}");
                }
            }
            connected += usize::from(client.srtp_tx().is_some());
        }
        self.core.end_batch(self.now);
        self.core.handle_timeout(self.now);
        self.core.flush();
        self.core.take_events();
        self.deliver();
        connected
    }

    fn deliver(&mut self) {
        loop {
            let Some((remote, bytes)) = self.output.0.borrow_mut().control.pop_front() else {
                return;
            };
            let SocketAddr::V4(v4) = remote else { continue };
            let [_, _, high, low] = v4.ip().octets();
            let index = usize::from(u16::from_be_bytes([high - 1, low]));
            let client = &mut self.clients[index];
            let pair = CandidatePair {
                local: remote,
                remote: SERVER,
                protocol: Protocol::Udp,
            };
            match bytes.first() {
                Some(0..=3) => drop(client.handle_stun(self.now, pair, &bytes)),
                Some(20..=63) => drop(client.handle_dtls(self.now, pair, &bytes)),
                _ => {}
            }
        }
    }
}

/// Microseconds of the core's CPU per forwarded packet.
pub fn compute_us(subscribers: usize, tracks: usize) -> f64 {
    let mut world = World::new(subscribers, tracks);
    let mut steps = 0;
    while world.step(Duration::from_millis(5)) <= subscribers {
        steps += 1;
        assert!(steps < 4000, "the clients did not connect");
    }
    for _ in 0..100 {
        world.step(Duration::from_millis(5));
    }
    let mut streams: Vec<Stream> = (0..tracks)
        .map(|track| Stream::new(serve::source_ssrc(track), track.to_string(), PAYLOAD))
        .collect();
    let pair = CandidatePair {
        local: SERVER,
        remote: address(0),
        protocol: Protocol::Udp,
    };
    // Twenty thousand forwarded packets a second, as in the measurement with sockets.
    let interval =
        Duration::from_secs(1) * (FRAME * subscribers) as u32 / crate::PACKETS_PER_SECOND;
    let frames = (TIMED_PACKETS / (FRAME * subscribers)).max(2 * tracks);
    let mut packets = vec![vec![0_u8; 1500]; FRAME];
    let mut spent = 0.0;
    let mut begin_media = 0;
    for frame in 0..frames + tracks {
        // Each track's first frame is its key frame and not timed.
        if frame == tracks {
            spent = 0.0;
            begin_media = world.output.0.borrow().media;
        }
        let stream = &mut streams[frame % tracks];
        let lengths: Vec<usize> = packets
            .iter_mut()
            .enumerate()
            .map(|(index, packet)| {
                let (header, plain) = stream.write(packet, index == 0, index + 1 == FRAME);
                let srtp = world.clients[0].srtp_tx().expect("connected");
                srtp.protect_rtp(packet, header, plain).expect("it fits")
            })
            .collect();
        world.now += interval;
        let begin = thread_cpu_us();
        for (packet, len) in packets.iter_mut().zip(&lengths) {
            world
                .core
                .handle_datagram(world.now, pair, &mut packet[..*len]);
        }
        world.core.end_batch(world.now);
        world.core.handle_timeout(world.now);
        world.core.flush();
        spent += thread_cpu_us() - begin;
        world.core.take_events();
        world.deliver();
        if frame % 50 == 0 {
            world.step(Duration::ZERO);
        }
    }
    let media = world.output.0.borrow().media - begin_media;
    assert!(media > 0, "nothing was forwarded");
    spent / media as f64
}
