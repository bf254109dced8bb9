//! Where TLS records end, without looking into them (RFC 8446, section 5.1).

/// The type, the version, and the length.
const HEADER: usize = 5;

/// Follows the records of one direction.
#[derive(Debug, Default)]
pub struct RecordCursor {
    header: [u8; HEADER],
    /// How many bytes of the header have come.
    have: usize,
    /// How many bytes of the record are still to come after its header.
    left: usize,
    has_begun: bool,
}

impl RecordCursor {
    /// Goes on by these bytes.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        self.has_begun |= !bytes.is_empty();
        while let Some(&first) = bytes.first() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
                bytes = &bytes[n..];
                continue;
            }
            self.header[self.have] = first;
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == HEADER {
                (self.have, self.left) = (0, u16::from_be_bytes([self.header[3], self.header[4]]).into());
            }
        }
    }

    /// Whether nothing has come.
    pub fn is_at_start(&self) -> bool {
        !self.has_begun
    }

    /// Whether no record has come in part.
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_ends_where_its_header_says_however_it_comes() {
        let records = [&[23, 3, 3, 0, 3, 1, 2, 3][..], &[21, 3, 3, 0, 0], &[22, 3, 1, 1, 0], &[0; 256]].concat();
        let ends = [8, 13, 274];
        let mut by_byte = RecordCursor::default();
        assert!(by_byte.is_at_start() && by_byte.is_between());
        for (at, byte) in records.iter().enumerate() {
            by_byte.advance(&[*byte]);
            let mut whole = RecordCursor::default();
            whole.advance(&records[..=at]);
            for cursor in [&by_byte, &whole] {
                assert_eq!((cursor.is_between(), cursor.is_at_start()), (ends.contains(&(at + 1)), false), "{at}");
            }
        }
    }
}
