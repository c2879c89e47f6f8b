use rtp::header::HeaderFields;
use rtp::rtcp::Packet;

use super::MS;
use super::media::{SSRC, call, send_frame, vp8};
use super::world::{MID, VP8, World};

/// A frame of one packet of another ssrc of the same section.
fn send_as(world: &mut World, ssrc: u32, sequence: u16, key_frame: bool) {
    let fields = HeaderFields {
        marker: true,
        payload_type: VP8,
        sequence,
        timestamp: 3_500_000_000 + u32::from(sequence) * 3000,
        ssrc,
        csrcs: &[],
    };
    let payload = vp8(key_frame, 500, 7);
    world.clients[0].send_rtp(&fields, &[(MID, b"0")], &payload);
    world.settle();
}

#[test]
fn a_publisher_that_goes_on_with_another_ssrc_is_asked_for_a_key_frame_and_seen() {
    let mut world = call(2);
    for frame in 0..10 {
        send_frame(&mut world, 0, 100 + 4 * frame, 4, frame == 0);
        world.run(33 * MS);
    }
    let before = world.clients[1].rtp.len();
    assert_eq!(before, 40);
    for sequence in 9000..9003 {
        send_as(&mut world, SSRC + 1, sequence, false);
        world.run(33 * MS);
    }
    assert_eq!(world.clients[1].rtp.len(), before);
    let asked = world.clients[0].rtcp_of(|packet| match packet {
        Packet::Pli { media_ssrc, .. } => Some(*media_ssrc),
        _ => None,
    });
    assert_eq!(asked.last(), Some(&(SSRC + 1)));
    send_as(&mut world, SSRC + 1, 9003, true);
    // Late packets of the ssrc before: they are counted, and that is all.
    send_frame(&mut world, 0, 140, 4, false);
    send_as(&mut world, SSRC + 1, 9004, false);
    assert_eq!(world.drops("media_refused"), 4);
    for (subscriber, ssrc) in [(1, 22), (2, 23)] {
        let client = &world.clients[subscriber];
        let sequences = client.sequences(ssrc);
        assert_eq!(sequences.len(), before + 2);
        let steps = sequences.windows(2);
        let mut steps = steps.map(|pair| pair[1].wrapping_sub(pair[0]));
        assert!(steps.all(|step| step == 1), "{sequences:?}");
        let timestamps: Vec<_> = client.rtp.iter().map(|rtp| rtp.header.timestamp).collect();
        let passed = timestamps[before].wrapping_sub(timestamps[before - 1]) as i32;
        // Four frames' time, in ticks of 90 kHz.
        assert!((10_000..14_000).contains(&passed), "{passed}");
    }
}
