//! Counts the work that input from the network causes, at the places where input decides how much it is, so that tests and
//! fuzzers can hold the work to a number of steps for each byte. A release build counts nothing.

#[cfg(debug_assertions)]
thread_local! {
    static TAKEN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Adds `n` bytes looked at, or comparisons made.
#[inline(always)]
pub fn count(_n: usize) {
    #[cfg(debug_assertions)]
    TAKEN.with(|taken| taken.set(taken.get() + _n as u64));
}

/// Steps of this thread so far; always 0 in a release build.
pub fn taken() -> u64 {
    #[cfg(debug_assertions)]
    return TAKEN.with(std::cell::Cell::get);
    #[cfg(not(debug_assertions))]
    0
}
