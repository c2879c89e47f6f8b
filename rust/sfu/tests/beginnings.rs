//! A stream begins where a decoder can: at a key frame, with all that comes before its picture, in
//! whatever order the packets came.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use common::encoder::{Coding, EncoderCall, Kind, Packet, Sets};
use common::{FRAME, MS, down_track_config};
use lkpy_sfu::DownTrack;

const H26X: [Coding; 2] = [Coding::H264, Coding::H265];

/// A call in which one frame was published, and the packets of the key frame that comes next.
fn waiting(coding: Coding, sets: Sets) -> (EncoderCall, Vec<Packet>) {
    let mut call = EncoderCall::new(coding);
    call.encoder.sets = sets;
    call.frame(false);
    let packets = call.encoder.frame(true, 3);
    call.now += FRAME;
    (call, packets)
}

fn give(call: &mut EncoderCall, packet: &Packet) {
    call.now += 2 * MS;
    call.receive(&packet.bytes);
    call.forward();
}

/// What was sent of the frame 2, in order of the numbers.
fn sent_of_key_frame(call: &mut EncoderCall) -> Vec<u8> {
    let mut sent = call.sent();
    assert!(sent.iter().all(|(mark, _)| mark.frame == 2));
    sent.sort_by_key(|(_, sent)| sent.header.sequence.wrapping_sub(0x8000));
    sent.iter().map(|(mark, _)| mark.index).collect()
}

#[test]
fn all_of_a_key_frame_is_sent_in_whatever_order_it_came() {
    for coding in H26X {
        for sets in [Sets::Aggregated, Sets::Separate, Sets::Reversed] {
            let (_, packets) = waiting(coding, sets);
            for first in 0..packets.len() {
                for second in 0..packets.len() {
                    let (mut call, mut packets) = waiting(coding, sets);
                    let all: Vec<u8> = (0..packets.len() as u8).collect();
                    let earlier = packets.remove(first);
                    packets.insert(second, earlier);
                    for packet in &packets {
                        give(&mut call, packet);
                    }
                    let sent = sent_of_key_frame(&mut call);
                    assert_eq!(sent, all, "{coding:?} {sets:?} {first} {second}");
                }
            }
        }
    }
}

#[test]
fn parameter_sets_that_were_lost_are_sent_once_they_are_recovered() {
    for coding in H26X {
        for sets in [Sets::Aggregated, Sets::Separate, Sets::Reversed] {
            let (mut call, packets) = waiting(coding, sets);
            let (lost, came) = packets.split_at(packets.len() - 3);
            for packet in came {
                give(&mut call, packet);
            }
            assert_eq!(call.sent_places(), [], "{coding:?} {sets:?}");
            call.now += 60 * MS;
            for (number, packet) in (1..).zip(lost) {
                let bytes = packet.as_rtx(78, number);
                call.receive(&bytes);
            }
            call.forward();
            let all: Vec<u8> = (0..packets.len() as u8).collect();
            assert_eq!(sent_of_key_frame(&mut call), all, "{coding:?} {sets:?}");
        }
    }
}

#[test]
fn a_picture_whose_parameter_sets_stay_lost_is_not_begun_with() {
    for coding in H26X {
        let (mut call, packets) = waiting(coding, Sets::Aggregated);
        for packet in &packets[1..] {
            give(&mut call, packet);
        }
        let asked = call.asked;
        for _ in 0..40 {
            call.frame(false);
        }
        assert_eq!(call.sent_places(), []);
        assert!(call.asked > asked, "{coding:?}: no key frame is asked for");
        call.frame(true);
        assert_eq!(call.sent_places()[0], (43, 0));
    }
}

#[test]
fn pictures_without_parameter_sets_are_begun_with_where_nothing_is_missing_before_them() {
    for coding in H26X {
        let (mut call, packets) = waiting(coding, Sets::OutOfBand);
        give(&mut call, &packets[0]);
        assert_eq!(call.sent_places(), [(2, 0)]);
        // Sets once at the beginning, and never again.
        let mut call = EncoderCall::new(coding);
        call.frame(true);
        assert_eq!(call.sent_places(), [(1, 0), (1, 1), (1, 2)]);
        call.encoder.sets = Sets::OutOfBand;
        call.frame(false);
        call.down_track = DownTrack::new(call.now, down_track_config(call.now, 9), &call.receiver);
        let call = &mut EncoderCall {
            encoder: call.encoder,
            receiver: call.receiver,
            now: call.now + 1000 * MS,
            ..EncoderCall::new(coding)
        };
        call.frame(false);
        call.frame(true);
        assert_eq!(call.sent_places()[0], (4, 0));
    }
}

#[test]
fn the_first_packet_of_a_stream_may_be_its_beginning() {
    for coding in [
        Coding::H264,
        Coding::H265,
        Coding::Vp8,
        Coding::Vp9,
        Coding::Av1,
    ] {
        let mut call = EncoderCall::new(coding);
        let packets = call.encoder.frame(true, 3);
        give(&mut call, &packets[0]);
        assert_eq!(call.sent_places(), [(1, 0)], "{coding:?}");
    }
}

#[test]
fn a_picture_that_comes_first_of_a_stream_waits_for_its_parameter_sets() {
    for coding in H26X {
        let mut call = EncoderCall::new(coding);
        let packets = call.encoder.frame(true, 1);
        give(&mut call, &packets[1]);
        assert_eq!(call.sent_places(), []);
        give(&mut call, &packets[0]);
        assert_eq!(call.sent_places(), [(1, 0), (1, 1)], "{coding:?}");
    }
}

#[test]
fn parameter_sets_are_enough_when_what_is_before_them_does_not_come() {
    for coding in [Coding::H264, Coding::H265, Coding::Av1] {
        let (mut call, _) = waiting(coding, Sets::Aggregated);
        call.encoder.skip(1);
        call.frame(true);
        call.frame(false);
        call.frame(false);
        assert_eq!(call.sent_places(), [], "{coding:?}");
        call.frame(false);
        call.frame(false);
        assert_eq!(call.sent_places().last(), Some(&(8, 1)), "{coding:?}");
    }
    // Neither does LiveKit need the VPS.
    let (mut call, packets) = waiting(Coding::H265, Sets::Separate);
    let later: Vec<_> = packets.into_iter().skip(2).collect();
    assert_eq!(later[0].mark.kind, Kind::Sps);
    call.turn(&later);
    for _ in 0..4 {
        call.frame(false);
    }
    assert_eq!(call.sent_places()[0], (2, 2));
}

#[test]
fn what_is_before_a_key_frame_is_not_missed_at_a_low_frame_rate() {
    for coding in [Coding::H264, Coding::H265, Coding::Av1] {
        let (mut call, _) = waiting(coding, Sets::Aggregated);
        call.encoder.skip(1);
        call.frame(true);
        assert_eq!(call.sent_places(), [], "{coding:?}");
        call.now += 1000 * MS;
        call.frame(false);
        let sent = call.sent_places();
        assert_eq!(sent.last(), Some(&(5, 1)), "{coding:?}");
        assert_eq!(sent[0], (4, 0), "{coding:?}");
        // Whoever comes later begins with another.
        call.down_track.update(call.now, 2, 3, true, &call.receiver);
        call.now += 1000 * MS;
        call.down_track
            .update(call.now, 2, 3, false, &call.receiver);
        call.frame(false);
        assert_eq!(call.sent_places(), [], "{coding:?}");
    }
}

#[test]
fn parameter_sets_with_a_timestamp_of_their_own_begin_the_stream() {
    for coding in H26X {
        let mut call = EncoderCall::new(coding);
        call.frame(false);
        call.encoder.sets = Sets::Separate;
        let mut packets = call.encoder.frame(true, 2);
        let sets = packets.len() - 2;
        for packet in &mut packets[..sets] {
            let timestamp = call.encoder.timestamp.wrapping_sub(2 * 2970).to_be_bytes();
            packet.bytes[4..8].copy_from_slice(&timestamp);
            packet.bytes[7] ^= 1;
        }
        call.turn(&packets);
        let all: Vec<u8> = (0..packets.len() as u8).collect();
        assert_eq!(sent_of_key_frame(&mut call), all, "{coding:?}");
    }
}

#[test]
fn a_key_frame_that_later_packets_have_pushed_out_is_not_begun_with() {
    for coding in H26X {
        let mut call = EncoderCall::new(coding);
        call.down_track.update(call.now, 2, 3, true, &call.receiver);
        call.encoder.sets = Sets::Separate;
        call.frame(true);
        // One of them has the slot of the parameter sets, and none that of the delimiter.
        call.encoder.skip(508);
        call.frame(false);
        call.down_track
            .update(call.now, 2, 3, false, &call.receiver);
        call.frame(false);
        assert_eq!(call.sent_places(), [], "{coding:?}");
        call.frame(true);
        assert_eq!(call.sent_places()[0], (5, 0));
    }
}

#[test]
fn all_of_a_key_frame_can_be_asked_for_again() {
    for coding in H26X {
        for sets in [Sets::Aggregated, Sets::Separate, Sets::Reversed] {
            let (mut call, packets) = waiting(coding, sets);
            call.turn(&packets);
            let sent = call.sent();
            let numbers = sent.iter().map(|(_, sent)| sent.header.sequence);
            let numbers: Vec<_> = numbers.collect();
            assert_eq!(numbers.len(), packets.len());
            let now = call.now;
            call.down_track.handle_nack(
                now,
                numbers.iter().copied(),
                &call.receiver,
                &mut call.sink,
            );
            assert_eq!(call.sink.sent.len(), numbers.len(), "{coding:?} {sets:?}");
        }
    }
}
