//! The measured process: an engine with one worker, set up for the peers of the other process.
//!
//! It is told on its standard input, a line each: `peers FINGERPRINT COUNT TRACKS` (peer 0 publishes
//! TRACKS tracks, the others subscribe to all of them), then `mark` as often as wanted, which answers
//! with the counters so far.

use std::io::{BufRead, Write};

use engine::Engine;
use engine::api::{
    Command, CreateDownTrack, CreateReceiver, DtlsParameters, DtlsRole, Encoding, EngineConfig,
    HeaderExtension, IceParameters, Id, MediaKind, RtpCodec,
};

use crate::cpu::process_cpu_us;
use crate::peers::{ABS_SEND_TIME, MID, TRANSPORT_CC, credentials};

/// Ssrc of published track `index`; both processes know it.
pub fn source_ssrc(index: usize) -> u32 {
    1000 + index as u32
}

/// What a `mark` answers, as the other process reads it back.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    /// CPU of the whole process in microseconds.
    pub cpu_us: f64,
}

impl Mark {
    /// Reads the line that a server printed.
    pub fn parse(line: &str) -> Self {
        let mut numbers = line.split_whitespace().skip(1).map(|word| {
            word.parse::<f64>()
                .unwrap_or_else(|_| panic!("not a mark: {line}"))
        });
        let mut next = || {
            numbers
                .next()
                .unwrap_or_else(|| panic!("short mark: {line}"))
        };
        Mark { cpu_us: next() }
    }
}

/// Runs until the standard input ends.
pub fn serve() {
    let engine = Engine::start(EngineConfig::default()).expect("loopback has free ports");
    let info = engine.info();
    println!(
        "ready {} {}",
        info.workers[0].candidates[0].port, info.fingerprint
    );
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the other process writes text");
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["peers", fingerprint, count, tracks] => {
                let number = |text: &str| text.parse::<usize>().expect("a number");
                let commands = set_up(fingerprint, number(count), number(tracks));
                engine.submit(commands).expect("the queue is large enough");
                println!("ok");
            }
            ["mark"] => mark(&engine),
            _ => panic!("not understood: {line}"),
        }
        std::io::stdout().flush().expect("the other process reads");
    }
}

fn mark(engine: &Engine) {
    engine.drain(usize::MAX);
    println!("mark {}", process_cpu_us());
}

fn transport_id(peer: usize) -> Id {
    1 + peer as Id
}

fn receiver_id(track: usize) -> Id {
    1_000_000 + track as Id
}

/// The commands that make peer 0 publish `tracks` tracks and the others subscribe to all of them.
pub fn set_up(fingerprint: &str, count: usize, tracks: usize) -> Vec<Command> {
    let mut commands = Vec::new();
    for peer in 0..count {
        let ice = |side| {
            let credentials = credentials(side, peer);
            IceParameters {
                ufrag: credentials.ufrag,
                pwd: credentials.pwd,
            }
        };
        commands.push(Command::CreateTransport {
            transport: transport_id(peer),
            worker: 0,
            ice: ice('s'),
            ice_lite: false,
            controlling: false,
        });
        commands.push(Command::SetRemoteParameters {
            transport: transport_id(peer),
            ice: ice('c'),
            dtls: DtlsParameters {
                algorithm: "sha-256".into(),
                fingerprint: fingerprint.into(),
                role: DtlsRole::Server,
            },
            remote_lite: false,
        });
    }
    for track in 0..tracks {
        commands.push(Command::CreateReceiver(Box::new(receiver(track))));
        for peer in 1..count {
            let down_track = down_track(peer, track, tracks);
            commands.push(Command::CreateDownTrack(Box::new(down_track)));
        }
    }
    commands
}

fn vp8() -> RtpCodec {
    RtpCodec {
        payload_type: 96,
        mime_type: "video/vp8".into(),
        clock_rate: 90_000,
        rtx_payload_type: Some(97),
        nack: true,
        pli: true,
        transport_cc: true,
        ..RtpCodec::default()
    }
}

fn extension(id: u8, uri: &str) -> HeaderExtension {
    HeaderExtension {
        id,
        uri: uri.into(),
    }
}

fn extensions(ids: &[u8]) -> Vec<HeaderExtension> {
    use rtp::extension::ExtensionKind;
    ids.iter()
        .map(|&id| {
            let kind = match id {
                MID => ExtensionKind::Mid,
                TRANSPORT_CC => ExtensionKind::TransportCc,
                _ => ExtensionKind::AbsSendTime,
            };
            extension(id, kind.uri())
        })
        .collect()
}

fn receiver(track: usize) -> CreateReceiver {
    CreateReceiver {
        receiver: receiver_id(track),
        transport: transport_id(0),
        mid: track.to_string(),
        kind: MediaKind::Video,
        codecs: vec![vp8()],
        header_extensions: extensions(&[MID, TRANSPORT_CC]),
        encodings: vec![Encoding {
            ssrc: Some(source_ssrc(track)),
            ..Encoding::default()
        }],
        clock_group: 1,
        screen_share: false,
    }
}

fn down_track(peer: usize, track: usize, tracks: usize) -> CreateDownTrack {
    let index = (peer * tracks + track) as u32;
    CreateDownTrack {
        down_track: 10_000_000 + Id::from(index),
        transport: transport_id(peer),
        receiver: receiver_id(track),
        mid: track.to_string(),
        ssrc: 100_000 + 2 * index,
        rtx_ssrc: Some(100_001 + 2 * index),
        cname: "bench".into(),
        codecs: vec![vp8()],
        header_extensions: extensions(&[ABS_SEND_TIME]),
        max_spatial: 2,
        max_temporal: 3,
        muted: false,
        translate_red: false,
        playout_delay: None,
        strip_trailer: false,
    }
}
