//! From measurements to the tables in docs/benchmarks.md.

use std::collections::BTreeMap;
use std::fmt::Write;

/// One measurement.
#[derive(Clone)]
pub struct Record {
    pub scenario: &'static str,
    pub proxy: &'static str,
    pub round: usize,
    pub result: Result<Figures, String>,
}

#[derive(Clone, Default)]
pub struct Figures {
    pub requests: u64,
    pub bytes: u64,
    pub seconds: f64,
    /// Seconds of CPU.
    pub cpu: f64,
    pub p50: u32,
    pub p99: u32,
    /// CPU seconds a unit, or bytes of memory: the less the better. What a unit is, the scenario says.
    pub cost: f64,
    /// Units a second; `None` where that means nothing.
    pub rate: Option<f64>,
}

/// Below this share of its core, a proxy was not what limited the rate.
const BUSY: f64 = 0.9;

pub const BEGIN: &str = "<!-- bench: begin -->\n";
pub const END: &str = "<!-- bench: end -->\n";

/// Both tables. Every ratio is taken within one round, and the median of the rounds is shown.
pub fn render(records: &[Record], scenarios: &[&'static str], proxies: &[&'static str], base: &str) -> String {
    let others: Vec<&str> = proxies.iter().copied().filter(|proxy| *proxy != base).collect();
    let cost = rows(records, scenarios, &others, base, |figures| Some(figures.cost));
    let rate = rows(records, scenarios, &others, base, |figures| figures.rate);
    let head = |title: &str| format!("| {title}, {base} = 1 | {} |\n| --- |{}\n", others.join(" | "), " ---: |".repeat(others.len()));
    let mut text = format!("{}{cost}", head("CPU time or memory: less is better"));
    if !rate.is_empty() {
        let _ = write!(text, "\n{}{rate}", head("Speed: more is better"));
    }
    if rate.contains('*') {
        let _ =
            write!(text, "\n\\* this proxy or {base} had less than all of its core to do, or did not get it: the CPU time says more.\n");
    }
    for record in records {
        if let Err(error) = &record.result {
            let _ = write!(text, "\nFailed: {}, {}, round {}: {error}\n", record.scenario, record.proxy, record.round + 1);
        }
    }
    text
}

fn rows(records: &[Record], scenarios: &[&str], others: &[&str], base: &str, value: impl Fn(&Figures) -> Option<f64>) -> String {
    let mut text = String::new();
    for scenario in scenarios {
        let runs = |proxy: &str| -> BTreeMap<usize, &Result<Figures, String>> {
            records.iter().filter(|r| r.scenario == *scenario && r.proxy == proxy).map(|r| (r.round, &r.result)).collect()
        };
        let base_runs = runs(base);
        if !records.iter().any(|r| r.scenario == *scenario && r.result.as_ref().is_ok_and(|figures| value(figures).is_some())) {
            continue;
        }
        let cell = |other: &&str| {
            let runs = runs(other);
            if runs.is_empty() {
                return "–".to_owned();
            }
            if runs.values().chain(base_runs.values()).any(|run| run.is_err()) {
                return "failed".to_owned();
            }
            let pairs = runs.iter().filter_map(|(round, run)| Some((run.as_ref().ok()?, base_runs.get(round)?.as_ref().ok()?)));
            let (mut ratios, mut is_busy) = (Vec::new(), true);
            for (own, base) in pairs {
                ratios.extend(value(own).zip(value(base)).map(|(own, base)| own / base));
                is_busy &= [own, base].iter().all(|figures| figures.cpu >= BUSY * figures.seconds);
            }
            let mark = if value(&Figures::default()).is_none() && !is_busy { "*" } else { "" };
            median(&mut ratios).map_or("–".to_owned(), |ratio| format!("{ratio:.2}{mark}"))
        };
        let cells: Vec<String> = others.iter().map(cell).collect();
        let _ = writeln!(text, "| {scenario} | {} |", cells.join(" | "));
    }
    text
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        size if size % 2 == 0 => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}

/// Everything that was measured, one object a line.
pub fn json(records: &[Record]) -> String {
    let line = |record: &Record| {
        let begin = format!(r#"{{"scenario": "{}", "proxy": "{}", "round": {}"#, record.scenario, record.proxy, record.round);
        match &record.result {
            Ok(f) => {
                let rate = f.rate.map_or("null".to_owned(), |rate| format!("{rate:.3}"));
                let counts = format!(
                    r#""requests": {}, "bytes": {}, "seconds": {:.3}, "cpu_seconds": {:.2}"#,
                    f.requests, f.bytes, f.seconds, f.cpu
                );
                format!(r#"{begin}, {counts}, "p50_us": {}, "p99_us": {}, "cost": {:e}, "rate": {rate}}}"#, f.p50, f.p99, f.cost)
            }
            Err(error) => format!(
                r#"{begin}, "failed": "{}"}}"#,
                error.replace('\\', "\\\\").replace('"', "\\\"").replace(|c: char| c.is_control(), " ")
            ),
        }
    };
    format!("[\n{}\n]\n", records.iter().map(line).collect::<Vec<_>>().join(",\n"))
}

/// `text` with what stands between the two marks replaced.
pub fn replace(text: &str, block: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, block, END, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(proxy: &'static str, round: usize, cost: f64, cpu: f64) -> Record {
        let figures = Figures { cost, rate: Some(1.0 / cost), cpu, seconds: 1.0, ..Figures::default() };
        Record { scenario: "s", proxy, round, result: Ok(figures) }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut records = Vec::new();
        for (round, (own, base)) in [(1.0, 2.0), (4.0, 4.0), (3.0, 10.0)].into_iter().enumerate() {
            records.extend([record("a", round, own, 1.0), record("b", round, base, 1.0)]);
        }
        let text = render(&records, &["s", "unused"], &["a", "b", "c"], "b");
        assert!(text.contains("| s | 0.50 | – |") && text.contains("| s | 2.00 | – |"), "{text}");
        assert!(text.starts_with("| CPU time or memory: less is better, b = 1 | a | c |\n| --- | ---: | ---: |\n"), "{text}");
    }

    #[test]
    fn an_idle_core_is_marked_and_a_failure_is_no_figure() {
        let mut records = vec![record("a", 0, 1.0, 0.5), record("b", 0, 2.0, 1.0)];
        let text = render(&records, &["s"], &["a", "b"], "b");
        assert!(text.contains("| s | 0.50 |") && text.contains("| s | 2.00* |"), "{text}");
        records.push(Record { scenario: "s", proxy: "a", round: 1, result: Err("said \"no\"".into()) });
        let text = render(&records, &["s"], &["a", "b"], "b");
        assert!(text.contains("| s | failed |") && text.contains("Failed: s, a, round 2: said"), "{text}");
        assert!(json(&records).contains(r#""failed": "said \"no\""}"#));
    }

    #[test]
    fn the_block_of_the_readme_is_replaced() {
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(replace(&text, "new\n").unwrap(), format!("before\n{BEGIN}new\n{END}after\n"));
        assert_eq!(replace("nothing", "new"), None);
        assert_eq!((median(&mut [3.0, 1.0, 2.0]), median(&mut [4.0, 1.0]), median(&mut [])), (Some(2.0), Some(2.5), None));
    }
}
