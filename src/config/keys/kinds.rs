//! The kinds of values that several keys have.

use crate::config::address;
use crate::config::rules::{field_value, not_empty, target, token, url_path};
use crate::config::schema::{Kind, Rule};
use crate::config::units::Unit;

const DAY_MS: i64 = 86_400_000;
/// At most a day; 0 has a meaning (no limit, do not wait, off, at once).
pub(super) const MS: Kind = Kind::Amount { unit: Unit::Milliseconds, min: 0, max: DAY_MS };
/// At most a day, and not 0.
pub(super) const SOME_MS: Kind = Kind::Amount { unit: Unit::Milliseconds, min: 1, max: DAY_MS };
/// Counts of things that are held in memory or the kernel.
pub(super) const COUNT: Kind = Kind::Int { min: 1, max: 1_000_000_000 };
pub(super) const COUNT_OR_0: Kind = Kind::Int { min: 0, max: 1_000_000_000 };
/// What one connection may hold in memory for a head; 16 MiB.
pub(super) const HEAD: Kind = Kind::Amount { unit: Unit::Bytes, min: 1, max: 16_777_216 };
/// 1 PiB: more than anybody means, and exact in every number format.
pub(super) const BYTES: Kind = Kind::Amount { unit: Unit::Bytes, min: 1, max: 1_125_899_906_842_624 };
pub(super) const BYTES_OR_0: Kind = Kind::Amount { unit: Unit::Bytes, min: 0, max: 1_125_899_906_842_624 };
pub(super) const PORT: Kind = Kind::Int { min: 1, max: 65_535 };
pub(super) const STATUS: Kind = Kind::Int { min: 100, max: 599 };

pub(super) const FILE: Kind = Kind::Text(Rule { what: "a path", check: not_empty });
pub(super) const NAME: Rule = Rule { what: "a name", check: not_empty };
pub(super) const TEXT: Kind = Kind::Text(Rule { what: "text", check: |_| Ok(()) });
pub(super) const ADDRESS: Kind = Kind::Text(Rule { what: "\"host:port\"", check: |text| address::listen(text).map(drop) });
pub(super) const LISTEN_ADDRESS: Kind = Kind::Text(Rule { what: "\"host:port\" or \"unix:/path\"", check: address::listener });
pub(super) const PEERS: Kind = Kind::Text(Rule { what: "an address, a CIDR or unix", check: address::peers });
pub(super) const FIELD: Rule = Rule { what: "a header name", check: token };
pub(super) const FIELD_TEXT: Rule = Rule { what: "a header value", check: field_value };
pub(super) const FIELD_VALUE: Kind = Kind::Text(FIELD_TEXT);
pub(super) const TARGET: Kind = Kind::Text(Rule { what: "a path that begins with /", check: target });
pub(super) const URL_PATH: Kind = Kind::Text(Rule { what: "a path that begins with /", check: url_path });
