//! Dates for log lines, in UTC, from milliseconds since 1970. No clock is read here.

/// The second that was formatted last: lines come in order, so most find their date ready.
#[derive(Clone, Debug)]
pub struct DateStamp {
    second: u64,
    iso: [u8; 19],
    apache: [u8; 26],
}

/// 9999-12-31T23:59:59Z: later times have no four-digit year, and are shown as this.
const LAST_SECOND: u64 = 253_402_300_799;

const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

impl Default for DateStamp {
    fn default() -> Self {
        Self { second: 0, iso: *b"1970-01-01T00:00:00", apache: *b"01/Jan/1970:00:00:00 +0000" }
    }
}

impl DateStamp {
    /// `2026-01-02T03:04:05.678Z`
    pub fn iso(&mut self, unix_ms: u64, out: &mut Vec<u8>) {
        self.turn_to(unix_ms / 1000);
        out.extend_from_slice(&self.iso);
        let ms = unix_ms % 1000;
        out.extend_from_slice(&[b'.', digit(ms / 100), digit(ms / 10), digit(ms), b'Z']);
    }

    /// `02/Jan/2026:03:04:05 +0000`
    pub fn apache(&mut self, unix_ms: u64, out: &mut Vec<u8>) {
        self.turn_to(unix_ms / 1000);
        out.extend_from_slice(&self.apache);
    }

    fn turn_to(&mut self, second: u64) {
        if self.second == second {
            return;
        }
        self.second = second;
        let second = second.min(LAST_SECOND);
        let (year, month, day) = civil(second / 86_400);
        let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
        for (place, value) in [(2, year), (5, month), (8, day), (11, hour), (14, minute), (17, second)] {
            two(&mut self.iso[place..], value);
        }
        two(&mut self.iso, year / 100);
        for (place, value) in [(0, day), (7, year / 100), (9, year), (12, hour), (15, minute), (18, second)] {
            two(&mut self.apache[place..], value);
        }
        let name = month as usize * 3 - 3;
        self.apache[3..6].copy_from_slice(&MONTHS[name..name + 3]);
    }
}

/// Year, month and day of a count of days since 1970-01-01. Howard Hinnant, "chrono-compatible low-level date algorithms":
/// a year that begins in March has its leap day last, and 400 of them (an era) have 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 = March
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

fn two(place: &mut [u8], value: u64) {
    place[0] = digit(value / 10);
    place[1] = digit(value);
}

/// The last decimal digit.
fn digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iso(ms: u64) -> String {
        let mut out = Vec::new();
        DateStamp::default().iso(ms, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_dates() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(951_868_800_001), "2000-03-01T00:00:00.001Z");
        assert_eq!(iso(1_767_323_045_678), "2026-01-02T03:04:05.678Z");
        assert_eq!(iso(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(iso(u64::MAX), "9999-12-31T23:59:59.615Z");
    }

    #[test]
    fn a_stamp_follows_a_clock_that_jumps_back() {
        let (mut stamp, mut out) = (DateStamp::default(), Vec::new());
        for ms in [1_767_323_045_678, 1_767_323_045_001, 1_767_319_445_000] {
            stamp.apache(ms, &mut out);
            out.push(b'\n');
        }
        let lines = String::from_utf8(out).unwrap();
        assert_eq!(lines, "02/Jan/2026:03:04:05 +0000\n02/Jan/2026:03:04:05 +0000\n02/Jan/2026:02:04:05 +0000\n");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..100_000 {
            assert_eq!(civil(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
