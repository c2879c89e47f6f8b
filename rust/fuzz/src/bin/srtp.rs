//! SRTP contexts: packets of many streams, lost, swapped, repeated and damaged. Nothing is accepted
//! twice, nothing that was damaged is accepted, and nothing that was not is called damaged.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use lkpy_fuzz::Input;
use rtp::srtp::{SrtpContext, SrtpError, SrtpProfile};

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let context = || SrtpContext::new(SrtpProfile::AeadAes128Gcm, &[7; 16], &[9; 12]).unwrap();
    let (mut tx, mut rx) = (context(), context());
    let mut accepted = HashSet::new();
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut next = [0_u16; 256];
    while !input.is_empty() {
        match input.byte() % 4 {
            0 | 1 => {
                let ssrc = input.byte();
                let jump = if input.byte() % 16 == 0 {
                    input.word() % 0x4000
                } else {
                    1
                };
                let seq = &mut next[usize::from(ssrc)];
                *seq = seq.wrapping_add(jump);
                let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 1, 0, 0, 0, ssrc];
                packet[2..4].copy_from_slice(&seq.to_be_bytes());
                packet.resize(20 + 16, ssrc);
                assert_eq!(tx.protect_rtp(&mut packet, 12, 20), Ok(36));
                sent.push(packet);
            }
            2 => {
                let Some(packet) = sent.get(usize::from(input.byte())) else {
                    continue;
                };
                let (at, bit) = (usize::from(input.byte()) % packet.len(), input.byte() % 8);
                let mut damaged = packet.clone();
                damaged[at] ^= 1 << bit;
                let result = rx.unprotect_rtp(&mut damaged);
                assert!(!matches!(result, Ok(_) | Err(SrtpError::Replay { .. })));
            }
            _ => {
                let at = usize::from(input.byte());
                let Some(packet) = sent.get(at) else {
                    continue;
                };
                match rx.unprotect_rtp(&mut packet.clone()) {
                    Ok(20) => assert!(accepted.insert(at)),
                    Ok(len) => panic!("{len}"),
                    // A stream whose beginning was lost may be a rollover behind.
                    Err(SrtpError::Replay { .. } | SrtpError::Authentication) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
});
