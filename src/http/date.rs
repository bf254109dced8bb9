//! `Date` (RFC 9110 6.6.1), formatted once a second.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

/// The last second that was formatted.
#[derive(Clone, Debug)]
pub struct DateCache {
    second: u64,
    text: [u8; DateCache::LEN],
}

impl Default for DateCache {
    fn default() -> Self {
        Self { second: 0, text: *b"Thu, 01 Jan 1970 00:00:00 GMT" }
    }
}

impl DateCache {
    const LEN: usize = 29;

    /// The date of `wall_ms` (milliseconds since 1970) as an IMF-fixdate.
    pub fn at(&mut self, wall_ms: u64) -> &[u8] {
        /// The end of the year 9999, the latest that httpdate formats.
        const LAST: u64 = 253_402_300_799;
        let second = (wall_ms / 1000).min(LAST);
        if second != self.second {
            self.second = second;
            let date = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(second));
            // The date has exactly 29 bytes, as the buffer has.
            let _ = write!(&mut self.text[..], "{date}");
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_clock_both_ways() {
        let mut date = DateCache::default();
        assert_eq!(date.at(784_111_777_999), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date.at(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
