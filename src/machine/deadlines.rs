//! Deadlines, in milliseconds of the monotonic clock; 0 means "not waiting".

/// The deadline of a wait that begins now; a timeout of 0 never passes.
pub fn after(now: u64, timeout_ms: u32) -> u64 {
    if timeout_ms == 0 { 0 } else { now + u64::from(timeout_ms) }
}
