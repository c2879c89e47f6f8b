//! Workers: sockets, timers, demultiplexing; the only crate with I/O and a clock.
