use rtp::header::HeaderFields;
use rtp::rtcp::Packet;

use super::MS;
use super::world::{
    AUDIO_LEVEL, MID, OPUS, TRANSPORT_CC, VP8, World, codec, down_track, extensions, receiver,
};
use crate::api::{Command, EngineConfig, Event, HeaderExtension, Id, MediaKind, RtpCodec};

/// Ssrc of the published video.
pub const SSRC: u32 = 4_000_000;

/// A VP8 payload of `len` bytes: descriptor, then the frame header.
pub fn vp8(key_frame: bool, len: usize, mark: u8) -> Vec<u8> {
    let mut payload = vec![0x10];
    if key_frame {
        payload.extend([0x10, 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 48, 0]);
    } else {
        payload.push(0x01);
    }
    payload.resize(len, mark);
    payload
}

/// The next frame of `packets` packets of a client's video; the first packet is `sequence`.
pub fn send_frame(world: &mut World, at: usize, sequence: u16, packets: u16, key_frame: bool) {
    for packet in 0..packets {
        let number = sequence.wrapping_add(packet);
        let mut payload = vp8(key_frame, 1000, number as u8);
        if packet > 0 {
            // Not the beginning of a partition.
            payload[0] = 0;
        }
        let fields = HeaderFields {
            marker: packet + 1 == packets,
            payload_type: VP8,
            sequence: number,
            timestamp: u32::from(sequence) * 3000,
            ssrc: SSRC,
            csrcs: &[],
        };
        let transport_sequence = number.to_be_bytes();
        let extensions: [(u8, &[u8]); 2] = [(MID, b"0"), (TRANSPORT_CC, &transport_sequence)];
        world.clients[at].send_rtp(&fields, &extensions, &payload);
    }
    world.settle();
}

/// A publisher (client 0, transport 1) of video (receiver 10) and `subscribers` with a down track
/// each (transports 2.., down tracks 22..).
pub fn call(subscribers: Id) -> World {
    call_with(EngineConfig::default(), subscribers)
}

pub fn call_with(config: EngineConfig, subscribers: Id) -> World {
    let mut world = World::with_config(config);
    world.connect(1);
    world.command(Command::CreateReceiver(Box::new(receiver(
        10,
        1,
        "0",
        MediaKind::Video,
    ))));
    for id in 2..2 + subscribers {
        world.connect(id);
        let create = down_track(20 + id, id, 10, MediaKind::Video);
        world.command(Command::CreateDownTrack(Box::new(create)));
    }
    world
}

fn plis(world: &World, at: usize) -> usize {
    let plis = world.clients[at].rtcp_of(|packet| match packet {
        Packet::Pli { media_ssrc, .. } => Some(*media_ssrc),
        _ => None,
    });
    assert!(plis.iter().all(|&ssrc| ssrc == SSRC));
    plis.len()
}

#[test]
fn video_reaches_every_subscriber_in_one_run_each() {
    let mut world = call(3);
    send_frame(&mut world, 0, 100, 4, true);
    world.take_runs();
    send_frame(&mut world, 0, 104, 8, false);
    let runs = world.take_runs();
    let counts: Vec<_> = runs
        .iter()
        .map(|run| run.count())
        .filter(|&count| count > 1)
        .collect();
    assert_eq!(counts, [8, 8, 8]);
    for (subscriber, ssrc) in [(1, 22), (2, 23), (3, 24)] {
        let client = &world.clients[subscriber];
        let sequences = client.sequences(ssrc);
        assert_eq!(sequences.len(), 12);
        let steps = sequences
            .windows(2)
            .map(|pair| pair[1].wrapping_sub(pair[0]));
        assert!(steps.into_iter().all(|step| step == 1), "{sequences:?}");
        for (rtp, mark) in client.rtp.iter().zip(100u8..) {
            assert_eq!(rtp.payload().last(), Some(&mark));
            assert_eq!(rtp.header.payload_type, VP8);
            assert!(
                rtp.header
                    .extensions(&rtp.packet)
                    .any(|(id, value)| (id, value) == (MID, b"m"))
            );
        }
        assert!(client.rtp[3].header.marker && !client.rtp[4].header.marker);
    }
    let begun = world.events.iter().any(|event| {
        *event
            == Event::ReceiverLayersChanged {
                receiver: 10,
                layers: vec![0],
                mime_type: "video/vp8".into(),
            }
    });
    assert!(begun);
    let down_tracks = world.stats().down_tracks;
    let sent = down_tracks.iter().filter(|down| down.spatial == 0);
    let sent: Vec<_> = sent.map(|down| down.down_track).collect();
    assert_eq!(sent, [22, 23, 24]);
}

/// Plays delta frames of one packet, 30 a second, until `done`.
fn play(world: &mut World, sequence: &mut u16, mut done: impl FnMut(&World) -> bool) {
    for _ in 0..150 {
        send_frame(world, 0, *sequence, 1, false);
        *sequence += 1;
        world.run(33 * MS);
        if done(world) {
            return;
        }
    }
    panic!("not within 5 s");
}

#[test]
fn nothing_is_sent_before_dtls_and_then_a_key_frame_is_asked_for() {
    let mut world = World::new();
    world.connect(1);
    world.command(Command::CreateReceiver(Box::new(receiver(
        10,
        1,
        "0",
        MediaKind::Video,
    ))));
    send_frame(&mut world, 0, 100, 4, true);
    assert_eq!(plis(&world, 0), 0);

    let subscriber = world.add_client(2, true);
    world.loss = Some(Box::new(|datagram| datagram.bytes[0] == 22));
    let create = down_track(22, 2, 10, MediaKind::Video);
    world.command(Command::CreateDownTrack(Box::new(create)));
    let (mut sequence, mut frames) = (104, 0);
    play(&mut world, &mut sequence, |_| {
        frames += 1;
        frames == 20
    });
    assert_eq!(
        (plis(&world, 0), world.clients[subscriber].rtp.len()),
        (0, 0)
    );

    world.loss = None;
    play(&mut world, &mut sequence, |world| world.is_connected(2));
    play(&mut world, &mut sequence, |world| plis(world, 0) > 0);
    assert_eq!(
        (plis(&world, 0), world.clients[subscriber].rtp.len()),
        (1, 0)
    );
    send_frame(&mut world, 0, sequence, 2, true);
    assert_eq!(world.clients[subscriber].rtp.len(), 2);
    world.run(100 * MS);
    assert_eq!(plis(&world, 0), 1);
}

#[test]
fn a_picture_that_is_lost_is_asked_for_within_the_throttle() {
    let mut world = call(2);
    send_frame(&mut world, 0, 100, 4, true);
    let (mut sequence, mut frames) = (104, 0);
    play(&mut world, &mut sequence, |_| {
        frames += 1;
        frames == 30
    });
    let before = plis(&world, 0);
    for (subscriber, ssrc) in [(1, 22), (2, 23)] {
        for _ in 0..10 {
            world.clients[subscriber].send_rtcp(|writer| writer.pli(1, ssrc));
        }
    }
    world.run(20 * MS);
    assert_eq!(plis(&world, 0), before + 1);
    world.command(Command::RequestKeyFrame { receiver: 10 });
    world.run(20 * MS);
    assert_eq!(plis(&world, 0), before + 1);
}

#[test]
fn media_that_comes_before_its_receiver_is_not_lost() {
    let mut world = World::new();
    world.connect(1);
    world.connect(2);
    send_frame(&mut world, 0, 100, 6, true);
    world.command(Command::CreateReceiver(Box::new(receiver(
        10,
        1,
        "0",
        MediaKind::Video,
    ))));
    let create = down_track(22, 2, 10, MediaKind::Video);
    world.command(Command::CreateDownTrack(Box::new(create)));
    send_frame(&mut world, 0, 106, 2, false);
    assert_eq!(world.clients[1].sequences(22).len(), 8);
}

/// The layers that down tracks send.
fn spatial(world: &mut World) -> Vec<i8> {
    let down_tracks = world.stats().down_tracks;
    down_tracks.iter().map(|down| down.spatial).collect()
}

#[test]
fn a_muted_or_closed_receiver_sends_nothing() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 2, true);
    world.command(Command::UpdateReceiver {
        receiver: 10,
        muted: true,
    });
    send_frame(&mut world, 0, 102, 2, true);
    assert_eq!(world.clients[1].rtp.len(), 2);
    assert_eq!(spatial(&mut world), [-1]);
    world.command(Command::UpdateReceiver {
        receiver: 10,
        muted: false,
    });
    send_frame(&mut world, 0, 104, 2, true);
    assert_eq!(world.clients[1].rtp.len(), 4);
    world.command(Command::CloseReceiver { receiver: 10 });
    assert_eq!(spatial(&mut world), [-1]);
    send_frame(&mut world, 0, 106, 2, true);
    world.command(Command::CloseDownTrack { down_track: 22 });
    assert_eq!(world.clients[1].rtp.len(), 4);
}

#[test]
fn a_publisher_may_number_anew() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 2, true);
    let numbered = |payload_type| RtpCodec {
        payload_type,
        rtx_payload_type: None,
        ..codec(MediaKind::Video)
    };
    let other = RtpCodec {
        payload_type: VP8 + 10,
        mime_type: "video/h264".into(),
        ..codec(MediaKind::Video)
    };
    let moved = extensions().into_iter().map(|extension| HeaderExtension {
        id: extension.id + 20,
        ..extension
    });
    world.command(Command::RenegotiateReceiver {
        receiver: 10,
        codecs: vec![other, numbered(VP8 + 5)],
        header_extensions: moved.collect(),
        encodings: Vec::new(),
    });
    let mut send = |payload_type, sequence, extensions: &[(u8, &[u8])]| {
        let fields = HeaderFields {
            marker: true,
            payload_type,
            sequence,
            timestamp: u32::from(sequence) * 3000,
            ssrc: SSRC,
            csrcs: &[],
        };
        world.clients[0].send_rtp(&fields, extensions, &vp8(true, 100, 0));
        world.settle();
        world.clients[1].rtp.len()
    };
    assert_eq!(send(VP8, 102, &[]), 3, "it is on its way");
    assert_eq!(send(VP8 + 5, 103, &[(MID + 20, b"0")]), 4);
    assert_eq!(send(VP8 + 6, 104, &[]), 4, "nobody has said what it is");
    let types = world.clients[1]
        .rtp
        .iter()
        .map(|packet| packet.header.payload_type);
    assert_eq!(types.collect::<Vec<_>>(), [VP8; 4], "the subscriber's own");
}

#[test]
fn a_subscriber_may_number_anew() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 2, true);
    world.command(Command::RenegotiateDownTrack {
        down_track: 22,
        codecs: vec![RtpCodec {
            payload_type: VP8 + 5,
            ..codec(MediaKind::Video)
        }],
        header_extensions: Vec::new(),
    });
    send_frame(&mut world, 0, 102, 2, false);
    let types = world.clients[1]
        .rtp
        .iter()
        .map(|packet| packet.header.payload_type);
    assert_eq!(types.collect::<Vec<_>>(), [VP8, VP8, VP8 + 5, VP8 + 5]);
    let sequences = world.clients[1].sequences(22);
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn a_down_track_can_be_muted_and_limited() {
    let mut world = call(1);
    send_frame(&mut world, 0, 100, 2, true);
    let mut sequence = 100;
    let mut update = |muted, max_spatial| {
        world.command(Command::UpdateDownTrack {
            down_track: 22,
            max_spatial,
            max_temporal: 3,
            muted,
        });
        sequence += 2;
        send_frame(&mut world, 0, sequence, 2, true);
        world.clients[1].rtp.len()
    };
    assert_eq!(update(true, 2), 2);
    assert_eq!(update(false, -1), 2);
    assert_eq!(update(false, 0), 4);
}

#[test]
fn audio_levels_are_observed() {
    let mut world = World::new();
    world.connect(1);
    world.command(Command::CreateReceiver(Box::new(receiver(
        10,
        1,
        "0",
        MediaKind::Audio,
    ))));
    for packet in 0..20u16 {
        let fields = HeaderFields {
            marker: false,
            payload_type: OPUS,
            sequence: packet,
            timestamp: u32::from(packet) * 960,
            ssrc: 77,
            csrcs: &[],
        };
        let level = [if packet == 5 { 10 } else { 60 }];
        world.clients[0].send_rtp(&fields, &[(MID, b"0"), (AUDIO_LEVEL, &level)], &[1; 40]);
        world.settle();
        world.run(20 * MS);
    }
    world.run(1000 * MS);
    let levels: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::AudioLevels { worker: 0, levels } => Some(levels.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(levels[0], [(10, 10, 20)]);
    assert!(levels.len() <= 2, "{levels:?}");
}

/// One audio packet without a mid, or with one.
fn send_audio(world: &mut World, ssrc: u32, payload_type: u8, sequence: u16, mid: Option<&[u8]>) {
    let fields = HeaderFields {
        payload_type,
        sequence,
        timestamp: u32::from(sequence) * 960,
        ssrc,
        ..HeaderFields::default()
    };
    let extensions: Vec<_> = mid.map(|mid| (MID, mid)).into_iter().collect();
    world.clients[0].send_rtp(&fields, &extensions, &[1; 40]);
    world.settle();
}

fn packets_of(world: &mut World, receiver: Id) -> u64 {
    let layers = world.stats().layers;
    let layers = layers.iter().filter(|layer| layer.receiver == receiver);
    layers.map(|layer| layer.packets).sum()
}

#[test]
fn packets_find_their_receiver_by_ssrc_mid_or_payload_type() {
    let mut world = World::new();
    world.connect(1);
    let create = |id, mid: &str, payload_type, ssrc| {
        let mut create = receiver(id, 1, mid, MediaKind::Audio);
        create.codecs[0].payload_type = payload_type;
        create.encodings = vec![crate::api::Encoding {
            ssrc,
            ..Default::default()
        }];
        Command::CreateReceiver(Box::new(create))
    };
    world.command(create(10, "0", OPUS, Some(1000)));
    world.command(create(11, "1", OPUS, None));
    world.command(create(12, "2", 63, None));
    // Signalled; by mid, and from then on without one; the only one with the payload type.
    send_audio(&mut world, 1000, OPUS, 1, None);
    send_audio(&mut world, 1001, OPUS, 1, Some(b"1"));
    send_audio(&mut world, 1001, OPUS, 2, None);
    send_audio(&mut world, 1002, 63, 1, None);
    // Nothing tells which: it waits for a receiver that fits.
    send_audio(&mut world, 1003, OPUS, 1, None);
    send_audio(&mut world, 1004, OPUS, 1, Some(b"9"));
    let counts = [10, 11, 12].map(|id| packets_of(&mut world, id));
    assert_eq!(counts, [1, 2, 1]);
    world.command(create(13, "9", OPUS, None));
    assert_eq!(packets_of(&mut world, 13), 1);
}
