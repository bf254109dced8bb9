//! `Connection` (RFC 9110 7.6.1): whether the connection persists, and which fields are meant for it alone.

use super::Refusal;
use super::head::FieldLine;
use super::options::{ConnectionOptions, MAX_OPTIONS};
use crate::base::{steps, text};

/// What the `Connection` fields of a message say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    /// Whether it names fields.
    pub names_fields: bool,
    /// How many members its list has.
    pub(super) members: u8,
}

impl Connection {
    /// Adds one `Connection` field. The names in it go into `named`.
    pub(super) fn read(&mut self, line: &FieldLine, named: &mut ConnectionOptions) -> Result<(), Refusal> {
        let value = line.value();
        steps::count(value.len());
        for member in value.split(|&b| b == b',') {
            if usize::from(self.members) == MAX_OPTIONS {
                return Err(Refusal::HeadTooLarge("Connection has too many options"));
            }
            self.members += 1;
            let option = text::trim(member);
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if !option.is_empty() {
                self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                named.add(line.place(option));
                self.names_fields = true;
            }
        }
        Ok(())
    }

    /// Whether the connection outlives the message (RFC 9112 9.3).
    pub fn persists(self, minor: u8) -> bool {
        !self.close && (minor == 1 || self.keep_alive)
    }
}
