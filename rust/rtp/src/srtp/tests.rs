//! Round trips, rollover, replay and limits; the RFCs' vectors are in `vectors`.

mod vectors;

use super::*;
use proptest::prelude::*;

const PROFILES: [SrtpProfile; 3] = [
    SrtpProfile::Aes128CmSha1_80,
    SrtpProfile::AeadAes128Gcm,
    SrtpProfile::AeadAes256Gcm,
];

fn context(profile: SrtpProfile) -> SrtpContext {
    let (key, salt) = ([7; 32], [9; 14]);
    SrtpContext::new(
        profile,
        &key[..profile.key_len()],
        &salt[..profile.salt_len()],
    )
    .unwrap()
}

fn pair(profile: SrtpProfile) -> (SrtpContext, SrtpContext) {
    (context(profile), context(profile))
}

fn plain_rtp(ssrc: u32, seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    packet[2..4].copy_from_slice(&seq.to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(b"payload");
    packet
}

fn protect_rtp(context: &mut SrtpContext, plain: &[u8]) -> Vec<u8> {
    let mut packet = plain.to_vec();
    packet.resize(plain.len() + MAX_RTP_OVERHEAD, 0);
    let header_len = RtpHeader::parse_encrypted(plain).unwrap().header_len();
    let len = context
        .protect_rtp(&mut packet, header_len, plain.len())
        .unwrap();
    packet.truncate(len);
    packet
}

/// Protects and unprotects one packet of ssrc 1.
fn transfer(tx: &mut SrtpContext, rx: &mut SrtpContext, seq: u16) -> Result<(), SrtpError> {
    let plain = plain_rtp(1, seq);
    let mut packet = protect_rtp(tx, &plain);
    let len = rx.unprotect_rtp(&mut packet)?;
    assert_eq!(packet[..len], plain);
    Ok(())
}

fn protect_rtcp(context: &mut SrtpContext, plain: &[u8]) -> Vec<u8> {
    let mut packet = plain.to_vec();
    packet.resize(plain.len() + MAX_RTCP_OVERHEAD, 0);
    let len = context.protect_rtcp(&mut packet, plain.len()).unwrap();
    packet.truncate(len);
    packet
}

fn plain_rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 3, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    packet[4..8].copy_from_slice(&ssrc.to_be_bytes());
    packet
}

#[test]
fn rtcp_round_trips_and_counts_up() {
    for profile in PROFILES {
        let (mut tx, mut rx) = pair(profile);
        let plain = plain_rtcp(5);
        for index in 0..300 {
            let mut packet = protect_rtcp(&mut tx, &plain);
            assert_eq!(rx.rtcp_cipher.rtcp_word(&packet), RTCP_ENCRYPTED | index);
            let len = rx.unprotect_rtcp(&mut packet).unwrap();
            assert_eq!(packet[..len], plain, "{profile:?}");
        }
    }
}

#[test]
fn rtcp_replays_are_refused() {
    for profile in PROFILES {
        let (mut tx, mut rx) = pair(profile);
        let packets: Vec<_> = (0..200)
            .map(|_| protect_rtcp(&mut tx, &plain_rtcp(5)))
            .collect();
        rx.unprotect_rtcp(&mut packets[199].clone()).unwrap();
        rx.unprotect_rtcp(&mut packets[100].clone()).unwrap();
        let replay = rx.unprotect_rtcp(&mut packets[100].clone());
        assert_eq!(replay, Err(SrtpError::Replay { ssrc: 5, seq: 100 }));
    }
}

#[test]
fn rollover_with_reordering_at_each_wrap() {
    for profile in PROFILES {
        let (mut tx, mut rx) = pair(profile);
        // Strides keep the test fast; around each wrap every packet goes, in swapped order.
        let near_wrap = |index: u64| (index + 40) % 65_536 < 80;
        let mut index = 100;
        while index < 3 * 65_536 {
            if near_wrap(index) {
                transfer(&mut tx, &mut rx, (index + 1) as u16).unwrap();
                transfer(&mut tx, &mut rx, index as u16).unwrap();
                index += 2;
            } else {
                transfer(&mut tx, &mut rx, index as u16).unwrap();
                index += 20;
            }
        }
        let highest = rx.received_rtp.highest(1);
        assert_eq!(rtp_index(highest, 0), Some(3 << 16), "{profile:?}");
    }
}

#[test]
fn a_packet_delayed_over_the_wrap_is_accepted() {
    for profile in PROFILES {
        let (mut tx, mut rx) = pair(profile);
        transfer(&mut tx, &mut rx, 65_000).unwrap();
        let late = protect_rtp(&mut tx, &plain_rtp(1, 65_535));
        for seq in 0..200 {
            transfer(&mut tx, &mut rx, seq).unwrap();
        }
        rx.unprotect_rtp(&mut late.clone()).unwrap();
        let replay = SrtpError::Replay {
            ssrc: 1,
            seq: 65_535,
        };
        assert_eq!(rx.unprotect_rtp(&mut late.clone()), Err(replay));
    }
}

#[test]
fn the_sender_may_send_an_old_packet_again() {
    for profile in PROFILES {
        let (mut tx, mut rx) = pair(profile);
        transfer(&mut tx, &mut rx, 65_000).unwrap();
        let first = protect_rtp(&mut tx, &plain_rtp(1, 65_535));
        for seq in 0..50 {
            transfer(&mut tx, &mut rx, seq).unwrap();
        }
        let mut again = protect_rtp(&mut tx, &plain_rtp(1, 65_535));
        assert_eq!(again, first);
        rx.unprotect_rtp(&mut again).unwrap();
    }
}

/// Row T4: a replay is told as such only if the peer itself made the packet.
#[test]
fn replays_are_authentic() {
    for profile in PROFILES {
        let (mut tx, mut rx) = pair(profile);
        let plain = plain_rtp(3, 10);
        let packet = protect_rtp(&mut tx, &plain);
        rx.unprotect_rtp(&mut packet.clone()).unwrap();
        let mut copy = packet.clone();
        let replay = SrtpError::Replay { ssrc: 3, seq: 10 };
        assert_eq!(rx.unprotect_rtp(&mut copy), Err(replay));
        assert_eq!(copy[..plain.len()], plain);
        for at in [1, 12, packet.len() - 1] {
            let mut forged = packet.clone();
            forged[at] ^= 1;
            assert_eq!(
                rx.unprotect_rtp(&mut forged),
                Err(SrtpError::Authentication)
            );
        }
        let packet = protect_rtcp(&mut tx, &plain_rtcp(3));
        rx.unprotect_rtcp(&mut packet.clone()).unwrap();
        let mut forged = packet.clone();
        forged[9] ^= 1;
        assert_eq!(
            rx.unprotect_rtcp(&mut forged),
            Err(SrtpError::Authentication)
        );
        let replay = SrtpError::Replay { ssrc: 3, seq: 0 };
        assert_eq!(rx.unprotect_rtcp(&mut packet.clone()), Err(replay));
    }
}

#[test]
fn rtcp_that_anybody_could_read_is_refused() {
    for profile in PROFILES {
        let (mut tx, mut rx) = pair(profile);
        let mut packet = protect_rtcp(&mut tx, &plain_rtcp(3));
        let word_at = match profile {
            SrtpProfile::Aes128CmSha1_80 => packet.len() - 14,
            _ => packet.len() - 4,
        };
        packet[word_at] &= 0x7f;
        assert_eq!(rx.unprotect_rtcp(&mut packet), Err(SrtpError::Unencrypted));
    }
}

#[test]
fn forged_packets_leave_no_state() {
    for profile in PROFILES {
        let (mut tx, mut rx) = pair(profile);
        for at in [1, 8, 12, 20] {
            let mut packet = protect_rtp(&mut tx, &plain_rtp(3, 10));
            packet[at] ^= 1;
            assert_eq!(
                rx.unprotect_rtp(&mut packet),
                Err(SrtpError::Authentication)
            );
            let mut packet = protect_rtcp(&mut tx, &plain_rtcp(3));
            packet[at] ^= 1;
            assert_eq!(
                rx.unprotect_rtcp(&mut packet),
                Err(SrtpError::Authentication)
            );
        }
        assert_eq!((rx.received_rtp.len(), rx.received_rtcp.len()), (0, 0));
        // Nor do they move the window of a stream that exists.
        transfer(&mut tx, &mut rx, 20_000).unwrap();
        let mut forged = protect_rtp(&mut tx, &plain_rtp(1, 20_000 + 30_000));
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(
            rx.unprotect_rtp(&mut forged),
            Err(SrtpError::Authentication)
        );
        assert_eq!(rx.received_rtp.highest(1), Some(20_000));
    }
}

/// Reaches [`MAX_RECEIVED_STREAMS`].
#[test]
fn streams_may_follow_each_other_for_long_but_not_for_ever() {
    let (mut tx, mut rx) = pair(SrtpProfile::AeadAes128Gcm);
    for ssrc in 0..MAX_RECEIVED_STREAMS as u32 {
        let mut packet = protect_rtp(&mut tx, &plain_rtp(ssrc, 1));
        rx.unprotect_rtp(&mut packet).unwrap();
        let mut packet = protect_rtcp(&mut tx, &plain_rtcp(ssrc));
        rx.unprotect_rtcp(&mut packet).unwrap();
    }
    assert!(rx.received_rtp.live() <= streams::LIVE);
    let rtp = protect_rtp(&mut tx, &plain_rtp(u32::MAX, 1));
    let rtcp = protect_rtcp(&mut tx, &plain_rtcp(u32::MAX));
    assert_eq!(
        rx.unprotect_rtp(&mut rtp.clone()),
        Err(SrtpError::TooManyStreams)
    );
    assert_eq!(
        rx.unprotect_rtcp(&mut rtcp.clone()),
        Err(SrtpError::TooManyStreams)
    );
    // Nobody is told so without the keys.
    for packet in [&rtp, &rtcp] {
        let mut forged = packet.clone();
        *forged.last_mut().unwrap() ^= 1;
        let result = match packet == &rtp {
            true => rx.unprotect_rtp(&mut forged),
            false => rx.unprotect_rtcp(&mut forged),
        };
        assert_eq!(result, Err(SrtpError::Authentication));
    }
    // The others go on, ended or not.
    for ssrc in [0, MAX_RECEIVED_STREAMS as u32 - 1] {
        rx.unprotect_rtp(&mut protect_rtp(&mut tx, &plain_rtp(ssrc, 2)))
            .unwrap();
    }
}

/// Row T5: every length with each first byte.
#[test]
fn packets_of_every_length_and_first_byte_are_refused() {
    let mut packet = [0xA5; 1500];
    for profile in PROFILES {
        let mut rx = context(profile);
        for len in (0..100).chain([500, 1_200, 1_499, 1_500]) {
            for first in 0..=255 {
                packet[..len].fill(0xA5);
                packet[0] = first;
                assert!(rx.unprotect_rtp(&mut packet[..len]).is_err());
                assert!(rx.unprotect_rtcp(&mut packet[..len]).is_err());
            }
        }
        assert_eq!((rx.received_rtp.len(), rx.received_rtcp.len()), (0, 0));
    }
}

#[test]
fn lengths_are_checked() {
    for profile in PROFILES {
        let (mut tx, mut rx) = pair(profile);
        let plain = plain_rtp(1, 1);
        let tag = profile.tag_len();
        let mut buf = plain.clone();
        buf.resize(plain.len() + tag, 0);
        let short = buf.len() - 1;
        assert_eq!(
            tx.protect_rtp(&mut buf[..short], 12, plain.len()),
            Err(SrtpError::TooShort)
        );
        assert_eq!(tx.protect_rtp(&mut buf, 12, 11), Err(SrtpError::TooShort));
        assert_eq!(tx.protect_rtp(&mut buf, 11, 12), Err(SrtpError::TooShort));
        assert_eq!(tx.protect_rtp(&mut buf, 12, plain.len()), Ok(buf.len()));
        for len in 0..12 + tag {
            assert!(rx.unprotect_rtp(&mut buf.clone()[..len]).is_err());
        }
        assert_eq!(tx.protect_rtcp(&mut [0; 64], 7), Err(SrtpError::TooShort));
        assert_eq!(
            tx.protect_rtcp(&mut [0; 8 + 13], 8),
            Err(SrtpError::TooShort)
        );
        let mut packet = protect_rtcp(&mut tx, &plain_rtcp(1)[..8]);
        assert_eq!(packet.len(), 8 + 4 + tag);
        let short = packet.len() - 1;
        assert_eq!(
            rx.unprotect_rtcp(&mut packet[..short]),
            Err(SrtpError::TooShort)
        );
        assert_eq!(rx.unprotect_rtcp(&mut packet), Ok(8));
    }
}

#[test]
fn keys_and_salts_must_fit_the_profile() {
    for profile in PROFILES {
        let (key, salt) = (profile.key_len(), profile.salt_len());
        for (key, salt) in [(key - 1, salt), (key + 1, salt), (key, 0), (key, salt + 1)] {
            let result = SrtpContext::new(profile, &vec![0; key], &vec![0; salt]);
            assert!(matches!(result, Err(SrtpError::Key)));
        }
    }
}

proptest! {
    #[test]
    fn rtp_round_trips(
        profile in prop::sample::select(&PROFILES), ssrc: u32, seq: u16, payload: Vec<u8>,
        csrcs in 0u8..=15, extension in prop::collection::vec(any::<[u8; 4]>(), 0..10),
    ) {
        let (mut tx, mut rx) = pair(profile);
        let mut plain = plain_rtp(ssrc, seq)[..12].to_vec();
        plain[0] |= csrcs | 0x10;
        plain.resize(12 + 4 * usize::from(csrcs), 0x55);
        plain.extend_from_slice(&[0xbe, 0xde, 0, extension.len() as u8]);
        plain.extend(extension.concat());
        plain.extend(&payload);
        let mut packet = protect_rtp(&mut tx, &plain);
        let header_len = plain.len() - payload.len();
        prop_assert_eq!(&packet[..header_len], &plain[..header_len]);
        let len = rx.unprotect_rtp(&mut packet).unwrap();
        prop_assert_eq!(&packet[..len], &plain);
    }

    #[test]
    fn never_panics(profile in prop::sample::select(&PROFILES), packet in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut rx = context(profile);
        prop_assert!(rx.unprotect_rtp(&mut packet.clone()).is_err());
        prop_assert!(rx.unprotect_rtcp(&mut packet.clone()).is_err());
    }
}
