//! The floor: what a forwarded packet cannot cost less than.
//!
//! One AES-128-GCM seal of the payload, plus the kernel's share of sending it over loopback in GSO
//! runs of the lengths that the engine achieved. On loopback the sender pays for the receiver's half
//! of UDP too, here as in the engine.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::cpu::thread_cpu_us;
use crate::net;

/// Microseconds of CPU to seal `size` bytes with one of `keys` keys, taken in turn.
pub fn seal_us(size: usize, keys: usize) -> f64 {
    let keys: Vec<LessSafeKey> = (0..keys)
        .map(|i| {
            let mut key = [0_u8; 16];
            key[..8].copy_from_slice(&(i as u64).to_be_bytes());
            LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).expect("a 16-byte key"))
        })
        .collect();
    let mut packet = vec![0_u8; size];
    let rounds = 200_000_usize;
    let begin = thread_cpu_us();
    for round in 0..rounds {
        let mut nonce = [0_u8; 12];
        nonce[..8].copy_from_slice(&(round as u64).to_be_bytes());
        let _tag = keys[round % keys.len()]
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from([0_u8; 20]),
                &mut packet,
            )
            .expect("a packet is shorter than GCM's limit");
    }
    (thread_cpu_us() - begin) / rounds as f64
}

/// Microseconds of CPU per datagram of `size` bytes, sent in runs of `runs` datagrams (taken in turn)
/// to `destinations` sockets that another thread drains.
pub fn send_us(size: usize, runs: &[usize], destinations: usize) -> f64 {
    let sinks: Vec<UdpSocket> = (0..destinations).map(|_| net::bind()).collect();
    let addresses: Vec<_> = sinks.iter().map(net::address).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let drain = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let poll = net::Poll::new(&sinks);
            let mut batch = net::ReceiveBatch::new();
            while !stop.load(Ordering::Relaxed) {
                for index in poll.wait(20) {
                    while batch.receive(&sinks[index]) > 0 {}
                }
            }
        })
    };
    let sender = net::bind();
    let packet = vec![0_u8; size * runs.iter().max().copied().unwrap_or(1)];
    let mut sent = 0_usize;
    let begin = thread_cpu_us();
    for round in 0..60_000 / destinations {
        for (index, address) in addresses.iter().enumerate() {
            let run = runs[(round * addresses.len() + index) % runs.len()];
            net::send_gso(
                sender.as_raw_fd(),
                &packet[..size * run],
                size as u16,
                *address,
            );
            sent += run;
        }
        // As in the engine, time passes between two frames and the receivers keep up.
        std::thread::yield_now();
    }
    let spent = thread_cpu_us() - begin;
    stop.store(true, Ordering::Relaxed);
    drain.join().expect("the drain thread ends");
    spent / sent as f64
}
