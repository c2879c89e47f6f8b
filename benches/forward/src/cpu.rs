//! CPU time of the calling thread and of the process.

/// User and system time of the calling thread in microseconds.
pub fn thread_cpu_us() -> f64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// User and system time of this process in microseconds.
pub fn process_cpu_us() -> f64 {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(id, &mut time) };
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
