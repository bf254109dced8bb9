//! Work that a stranger's bytes can cause, counted where they decide how much it is: tests and fuzzers hold it against their
//! number. A release build counts nothing.

#[cfg(debug_assertions)]
thread_local! {
    static TAKEN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// So many bytes were looked at, or things compared.
#[inline(always)]
pub fn count(_n: usize) {
    #[cfg(debug_assertions)]
    TAKEN.with(|taken| taken.set(taken.get() + _n as u64));
}

/// Steps of this thread so far; 0 in a release build.
pub fn taken() -> u64 {
    #[cfg(debug_assertions)]
    return TAKEN.with(std::cell::Cell::get);
    #[cfg(not(debug_assertions))]
    0
}
