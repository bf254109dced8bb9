//! The result of a scene: a row of the table, and below it every goal and every failure in words.

use super::clients::Done;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

pub struct Report {
    pub scene: &'static str,
    pub done: Vec<Done>,
    pub retries: usize,
    /// How many requests that are not idempotent reached an upstream more than once.
    pub twice: usize,
    pub goals: Vec<Goal>,
    /// What the proxy logged about requests that should not have failed.
    pub said: Vec<String>,
}

pub struct Goal {
    pub is_met: bool,
    /// The goal and the result.
    pub what: String,
}

const HEAD: &str = "\
| scene                         |    GET, PUT, … | failed |     POST | failed | twice | retries | p50 ms | p99 ms | longest | goals  |
| ----------------------------- | -------------: | -----: | -------: | -----: | ----: | ------: | -----: | -----: | ------: | ------ |";

pub fn head() -> &'static str {
    HEAD
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.goals.iter().all(|goal| goal.is_met)
    }

    /// The number of requests of that kind, and how many of them failed.
    pub fn count(&self, is_idempotent: bool) -> (usize, usize) {
        let of_kind = self.done.iter().filter(|done| done.is_idempotent() == is_idempotent);
        (of_kind.clone().count(), of_kind.filter(|done| done.failure.is_some()).count())
    }

    pub fn row(&self) -> String {
        let ((safe, safe_failed), (other, other_failed)) = (self.count(true), self.count(false));
        let mut took: Vec<Duration> = self.done.iter().map(|done| done.took).collect();
        took.sort_unstable();
        let ms = |percent: usize| {
            let rank = (took.len() * percent).div_ceil(100).max(1);
            took.get(rank - 1).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
        };
        format!(
            "| {:29} | {:>14} | {:>6} | {:>8} | {:>6} | {:>5} | {:>7} | {:>6.1} | {:>6.0} | {:>7.0} | {:6} |",
            self.scene,
            thousands(safe),
            thousands(safe_failed),
            thousands(other),
            thousands(other_failed),
            self.twice,
            thousands(self.retries),
            ms(50),
            ms(99),
            ms(100),
            if self.is_good() { "met" } else { "MISSED" }
        )
    }

    pub fn words(&self) -> String {
        let mut text = format!("{}\n", self.scene);
        for goal in &self.goals {
            let _ = writeln!(text, "  {}: {}", if goal.is_met { "met" } else { "MISSED" }, goal.what);
        }
        for (kind, is_idempotent) in [("GET, PUT, DELETE", true), ("POST", false)] {
            let mut reasons = BTreeMap::<&str, usize>::new();
            for failure in self.done.iter().filter(|done| done.is_idempotent() == is_idempotent).filter_map(|done| done.failure.as_ref()) {
                *reasons.entry(&failure.why).or_default() += 1;
            }
            let reasons: Vec<String> = reasons.iter().map(|(why, count)| format!("{} x {why}", thousands(*count))).collect();
            if !reasons.is_empty() {
                let _ = writeln!(text, "  failed {kind}: {}", reasons.join(", "));
            }
        }
        for line in &self.said {
            let _ = writeln!(text, "    {line}");
        }
        text
    }
}

/// 12,345.
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
