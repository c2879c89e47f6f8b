//! A whole connection over ICE-TCP, through real sockets: checks, handshake, a message and back.

#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lkpy_engine::Engine;
use lkpy_engine::api::{
    Command, DtlsParameters, DtlsRole, EngineConfig, Event, Fault, IceParameters, IceState,
    SendData,
};
use transport::{
    CandidatePair, ChannelOptions, DtlsIdentity, Fingerprint, IceCredentials, LocalCandidate,
    Protocol, RemoteCandidate, RemoteDtls, Transport, TransportConfig, TransportEvent,
};

const LIMIT: Duration = Duration::from_secs(10);

/// A transport that takes the stream for a datagram socket.
struct Peer {
    transport: Transport,
    stream: TcpStream,
    pending: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

impl Peer {
    fn turn(&mut self) {
        let pair = CandidatePair {
            local: self.stream.local_addr().unwrap(),
            remote: self.stream.peer_addr().unwrap(),
            protocol: Protocol::Udp,
        };
        let mut buffer = [0; 4096];
        if let Ok(len) = self.stream.read(&mut buffer) {
            assert_ne!(len, 0, "the engine closed the connection");
            self.pending.extend_from_slice(&buffer[..len]);
        }
        let now = Instant::now();
        while let [high, low, rest @ ..] = self.pending.as_slice()
            && let Some(frame) = rest.get(..usize::from(u16::from_be_bytes([*high, *low])))
        {
            let frame = frame.to_vec();
            self.pending.drain(..2 + frame.len());
            if frame[0] < 4 {
                self.transport.handle_stun(now, pair, &frame);
            } else {
                let _ = self.transport.handle_dtls(now, pair, &frame);
            }
        }
        if self.transport.next_timeout().is_some_and(|at| at <= now) {
            self.transport.handle_timeout(now);
        }
        while let Some(event) = self.transport.poll_event() {
            if let TransportEvent::Data {
                stream_id, bytes, ..
            } = event
            {
                self.transport
                    .send_data(now, stream_id, b"back", true)
                    .unwrap();
                self.messages.push(bytes);
            }
        }
        while let Some(transmit) = self.transport.poll_transmit() {
            let len = u16::try_from(transmit.bytes.len()).unwrap();
            let frame = [&len.to_be_bytes(), transmit.bytes.as_slice()].concat();
            self.stream.write_all(&frame).unwrap();
        }
    }
}

fn engine() -> (Engine, SocketAddr) {
    let config = EngineConfig {
        tcp_port: Some(0),
        worker_stall: Duration::from_millis(200),
        fault_injection: true,
        ..EngineConfig::default()
    };
    let engine = Engine::start(config).unwrap();
    let candidates = &engine.info().workers[0].candidates;
    let tcp = candidates
        .iter()
        .find(|candidate| candidate.protocol == "tcp")
        .unwrap();
    assert_eq!(tcp.tcp_type.as_deref(), Some("passive"));
    let address = SocketAddr::new(tcp.address.parse().unwrap(), tcp.port);
    (engine, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    stream
}

fn credentials(name: &str) -> (IceCredentials, IceParameters) {
    let (ufrag, pwd) = (
        format!("{name}frag"),
        format!("{name}-password-of-22-chars"),
    );
    let credentials = IceCredentials {
        ufrag: ufrag.clone(),
        pwd: pwd.clone(),
    };
    (credentials, IceParameters { ufrag, pwd })
}

#[test]
fn a_peer_connects_over_tcp_and_talks() {
    let (engine, address) = engine();
    talk(&engine, address, 1);
}

fn wait_for(engine: &Engine, wanted: impl Fn(&Event) -> bool) -> Event {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < LIMIT, "the event does not come");
        if let Some(event) = engine.drain(100).into_iter().find(&wanted) {
            return event;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn failure(event: &Event) -> Option<bool> {
    match event {
        Event::WorkerFailed {
            worker: 0,
            replaced,
            ..
        } => Some(*replaced),
        _ => None,
    }
}

#[test]
fn after_a_failure_the_worker_goes_on_with_its_ports_and_nothing_on_them() {
    let (engine, address) = engine();
    for round in 1..3 {
        talk(&engine, address, round);
        engine.inject_fault(0, Fault::Panic).unwrap();
        let failed = wait_for(&engine, |event| failure(event).is_some());
        assert_eq!(failure(&failed), Some(true));
        engine
            .submit(vec![Command::CollectStats { request: round }])
            .unwrap();
        let stats = wait_for(&engine, |event| matches!(event, Event::StatsCollected(_)));
        let Event::StatsCollected(stats) = stats else {
            unreachable!()
        };
        let worker = stats.worker;
        assert_eq!((worker.transports, worker.panics), (0, round));
        assert!(worker.datagrams_received > 0 && worker.datagrams_sent > 0);
        engine
            .submit(vec![Command::CloseTransport { transport: round }])
            .unwrap();
    }
    talk(&engine, address, 9);
}

#[test]
fn a_worker_that_fails_again_and_again_gives_up_and_its_commands_are_answered() {
    let (engine, _) = engine();
    let mut replaced = 0;
    loop {
        engine.inject_fault(0, Fault::Panic).unwrap();
        let failed = wait_for(&engine, |event| failure(event).is_some());
        if failure(&failed) == Some(false) {
            break;
        }
        replaced += 1;
    }
    assert_eq!(replaced, 5);
    let (_, ice) = credentials("ours");
    let create = Command::CreateTransport {
        transport: 1,
        worker: 0,
        ice,
        ice_lite: true,
        controlling: false,
    };
    let close = Command::CloseTransport { transport: 1 };
    let collect = Command::CollectStats { request: 3 };
    engine.submit(vec![create, close, collect]).unwrap();
    let events = engine.drain(10);
    assert!(
        matches!(
            events.as_slice(),
            [
                Event::CommandFailed { subject: 1, .. },
                Event::StatsCollected(_)
            ]
        ),
        "{events:?}"
    );
}

#[test]
fn events_that_nobody_takes_cost_the_worker_its_transports_and_not_a_word() {
    let config = EngineConfig {
        event_queue: 16,
        ..EngineConfig::default()
    };
    let engine = Engine::start(config).unwrap();
    let fail = Command::RequestKeyFrame { receiver: 5 };
    engine.submit(vec![fail; 64]).unwrap();
    // One turn takes more of them than there is room for their answers.
    let failed = wait_for(&engine, |event| failure(event) == Some(true));
    let Event::WorkerFailed { reason, .. } = failed else {
        unreachable!()
    };
    assert!(reason.contains("events were lost"), "{reason}");
    engine.drain(1000);
    engine
        .submit(vec![Command::CollectStats { request: 9 }])
        .unwrap();
    wait_for(&engine, |event| matches!(event, Event::StatsCollected(_)));
}

#[test]
fn a_thread_that_ends_is_said() {
    let (engine, _) = engine();
    engine.inject_fault(0, Fault::Die).unwrap();
    let failed = wait_for(&engine, |event| failure(event).is_some());
    assert_eq!(failure(&failed), Some(false));
}

#[test]
fn a_turn_that_does_not_end_is_said_and_so_is_its_end() {
    let (engine, address) = engine();
    engine.inject_fault(0, Fault::Hang).unwrap();
    let stall = |event: &Event| match event {
        Event::WorkerStalled { stalled, .. } => Some(*stalled),
        _ => None,
    };
    assert_eq!(
        stall(&wait_for(&engine, |event| stall(event).is_some())),
        Some(true)
    );
    engine.inject_fault(0, Fault::Recover).unwrap();
    assert_eq!(
        stall(&wait_for(&engine, |event| stall(event).is_some())),
        Some(false)
    );
    talk(&engine, address, 1);
}

#[test]
fn an_engine_for_users_suffers_no_faults() {
    let engine = Engine::start(EngineConfig::default()).unwrap();
    assert!(engine.inject_fault(0, Fault::Die).is_err());
}

/// Connects to the transport `id`, which is made, and exchanges a message on a channel.
fn talk(engine: &Engine, address: SocketAddr, id: u64) {
    let stream = connect(address);
    let identity = DtlsIdentity::generate().unwrap();
    let (ours, ours_told) = credentials(&format!("ours{id}"));
    let (theirs, theirs_told) = credentials(&format!("theirs{id}"));
    let local = LocalCandidate {
        addr: stream.local_addr().unwrap(),
        protocol: Protocol::Udp,
    };
    let config = TransportConfig {
        controlling: true,
        ..TransportConfig::new(theirs, vec![local])
    };
    let now = Instant::now();
    let mut transport = Transport::new(config, &identity, now);
    let info = engine.info();
    let fingerprint = Fingerprint::parse(&info.fingerprint_algorithm, &info.fingerprint).unwrap();
    let dtls = RemoteDtls {
        fingerprint,
        role_is_client: false,
    };
    transport.set_remote(now, ours, &dtls).unwrap();
    let candidate = RemoteCandidate {
        addr: address,
        protocol: Protocol::Udp,
        priority: 1,
        foundation: "1".into(),
        kind: "host".into(),
    };
    transport.add_remote_candidate(now, &candidate);
    let options = ChannelOptions {
        label: "chat".into(),
        protocol: String::new(),
        ordered: true,
        max_retransmits: None,
        negotiated: None,
    };
    transport.open_channel(now, options).unwrap();
    let commands = vec![
        Command::CreateTransport {
            transport: id,
            worker: 0,
            ice: ours_told,
            ice_lite: true,
            controlling: false,
        },
        Command::SetRemoteParameters {
            transport: id,
            ice: theirs_told,
            dtls: DtlsParameters {
                algorithm: identity.fingerprint().algorithm().into(),
                fingerprint: identity.fingerprint().to_string(),
                role: DtlsRole::Server,
            },
            remote_lite: false,
        },
    ];
    engine.submit(commands).unwrap();

    let mut peer = Peer {
        transport,
        stream,
        pending: Vec::new(),
        messages: Vec::new(),
    };
    let (mut connected_over, mut received) = (None, None);
    while received.is_none() {
        assert!(now.elapsed() < LIMIT, "nothing came back");
        peer.turn();
        for event in engine.drain(100) {
            match event {
                Event::IceStateChanged {
                    state: IceState::Connected,
                    protocol,
                    ..
                } => connected_over = Some(protocol),
                Event::DataChannelOpened { stream_id, .. } => {
                    let send = SendData {
                        channels: vec![(id, stream_id)],
                        payload: Arc::from(&b"to you"[..]),
                        binary: true,
                        source: 0,
                    };
                    engine.submit(vec![Command::SendData(send)]).unwrap();
                }
                Event::DataReceived { payload, .. } => received = Some(payload),
                _ => {}
            }
        }
    }
    assert_eq!(connected_over, Some("tcp"));
    assert_eq!(
        (peer.messages, received),
        (vec![b"to you".to_vec()], Some(b"back".to_vec()))
    );
}

#[test]
fn a_stranger_is_cut_off() {
    let (_engine, address) = engine();
    let mut stream = connect(address);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"\0\x10GET / HTTP/1.1\r\n").unwrap();
    match stream.read(&mut [0; 16]) {
        Ok(len) => assert_eq!(len, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}
