//! The clock by which the age of attempts is counted.

/// Microseconds by a clock that is never set and that also runs while the machine sleeps.
#[cfg(target_os = "linux")]
pub(crate) fn elapsed_us() -> u64 {
    use rustix::time::{ClockId, clock_gettime};

    let time = clock_gettime(ClockId::Boottime);
    u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1000).unwrap_or_default()
}

/// Microseconds by the clock of the system: that which cannot be set may stop while the machine sleeps.
#[cfg(not(target_os = "linux"))]
pub(crate) fn elapsed_us() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};

    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
