//! The operating system: the only module of the engine with `unsafe`.
//!
//! | module | what |
//! |---|---|
//! | [`eventfd`] | a descriptor that polls readable while something waits |
//! | [`interfaces`] | the addresses of this machine |
//! | [`recv`] | `recvmmsg` with UDP_GRO |
//! | [`send`] | `sendmmsg` with UDP_SEGMENT |
//! | [`sockaddr`] | addresses as the kernel sees them |
//! | [`socket`] | socket options |

#![allow(unsafe_code)]

pub(crate) mod eventfd;
pub(crate) mod interfaces;
pub(crate) mod recv;
pub(crate) mod send;
mod sockaddr;
pub(crate) mod socket;

use std::time::Duration;

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if result != 0 {
        return Duration::ZERO;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
