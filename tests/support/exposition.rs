//! A reader of the Prometheus text format that shares nothing with what writes it. It follows the format's own page ("Text-based
//! format", version 0.0.4), and fails at whatever that does not allow.

use std::collections::{BTreeMap, BTreeSet};

/// Name and labels of a sample.
pub type Series = (String, BTreeMap<String, String>);

#[derive(Debug, Default)]
pub struct Exposition {
    /// `counter`, `gauge`, `histogram`, by family.
    pub kinds: BTreeMap<String, String>,
    pub samples: BTreeMap<Series, f64>,
}

impl Exposition {
    #[track_caller]
    pub fn parse(text: &str) -> Exposition {
        assert!(text.ends_with('\n') && !text.contains('\r'), "the last line has an end, and no other than LF");
        let mut page = Exposition::default();
        let (mut helped, mut finished, mut family) = (BTreeSet::new(), BTreeSet::new(), String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').unwrap_or_else(|| panic!("no text: {line:?}"));
                assert!(is_name(name) && !words.trim().is_empty() && helped.insert(name.to_owned()), "{line:?}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap_or_else(|| panic!("no type: {line:?}"));
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line:?}");
                assert!(page.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line:?}");
                finished.insert(std::mem::replace(&mut family, name.to_owned()));
                assert!(!finished.contains(name), "samples of {name} stand in two places");
            } else {
                assert!(!line.starts_with('#') && !line.is_empty(), "neither HELP nor TYPE nor a sample: {line:?}");
                let (series, value) = sample(line);
                let is_part = |end: &str| page.kinds[&family] == "histogram" && series.0 == format!("{family}{end}");
                assert!(series.0 == family || ["_bucket", "_sum", "_count"].into_iter().any(is_part), "{line:?} under {family}");
                assert!(page.samples.insert(series, value).is_none(), "twice: {line:?}");
            }
        }
        for (name, kind) in &page.kinds {
            assert!(helped.contains(name), "no HELP for {name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            if kind == "histogram" {
                page.check_histogram(name);
            }
        }
        for ((name, labels), value) in &page.samples {
            let is_sound = value.is_finite() && (*value >= 0.0 || page.kinds.get(name).is_some_and(|kind| kind == "gauge"));
            assert!(is_sound, "{name}{labels:?} {value}");
        }
        page
    }

    /// The value of the one sample of that name with exactly these labels.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let series = (name.to_owned(), labels);
        *self.samples.get(&series).unwrap_or_else(|| panic!("no {series:?}"))
    }

    /// Over all samples of that name.
    pub fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|((n, _), _)| n == name).map(|(_, value)| value).sum()
    }

    /// The values of that label that the family has.
    pub fn labels(&self, name: &str, label: &str) -> BTreeSet<&str> {
        let of_name = self.samples.keys().filter(|(n, _)| n == name);
        of_name.filter_map(|(_, labels)| labels.get(label).map(String::as_str)).collect()
    }

    /// Buckets rise, the last is `+Inf` and the same as the count, and there is a sum.
    #[track_caller]
    fn check_histogram(&self, name: &str) {
        let bucket = format!("{name}_bucket");
        let mut buckets: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
        for ((_, labels), value) in self.samples.iter().filter(|((n, _), _)| *n == bucket) {
            let mut labels = labels.clone();
            let bound = labels.remove("le").unwrap_or_else(|| panic!("{bucket} without le"));
            buckets.entry(labels).or_default().push((number(&bound), *value));
        }
        for (labels, mut buckets) in buckets {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1), "{name}{labels:?} {buckets:?}");
            let of = |end: &str| self.samples.get(&(format!("{name}{end}"), labels.clone())).copied();
            assert_eq!(buckets.last().map(|b| (b.0, Some(b.1))), Some((f64::INFINITY, of("_count"))), "{name}{labels:?}");
            assert!(of("_sum").is_some(), "{name}{labels:?} has no sum");
        }
    }
}

/// `name{label="value",…} value`
fn sample(line: &str) -> (Series, f64) {
    let bad = || -> ! { panic!("not a sample: {line:?}") };
    let end = line.find(['{', ' ']).unwrap_or_else(|| bad());
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "bad name: {line:?}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"").unwrap_or_else(|| bad());
            assert!(is_name(label) && !label.contains(':'), "bad label: {line:?}");
            let (value, after) = label_value(quoted).unwrap_or_else(|| bad());
            assert!(labels.insert(label.to_owned(), value).is_none(), "{label} twice: {line:?}");
            rest = after.strip_prefix(',').unwrap_or(after);
            assert!(after.starts_with(['}', ',']), "bad labels: {line:?}");
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| bad());
    assert!(!value.contains(' '), "a time stamp, or more: {line:?}");
    ((name.to_owned(), labels), number(value))
}

/// Up to the closing quote; and what follows it.
fn label_value(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => match chars.next()?.1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                _ => return None,
            },
            (_, c) => value.push(c),
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || "_:".contains(c))
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        _ => text.parse().unwrap_or_else(|_| panic!("not a number: {text:?}")),
    }
}

/// A sample's name and its labels between braces.
pub fn split_sample(line: &str) -> Option<(&str, &str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    match series.split_once('{') {
        Some((name, labels)) => Some((name, labels.strip_suffix('}')?, value)),
        None => Some((series, "", value)),
    }
}

/// The samples of a page that is not checked as a whole, their labels as they are written.
pub fn samples(page: &str) -> impl Iterator<Item = (&str, &str, f64)> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(split_sample)
}

/// The sum of the samples of that name with these labels (`status_class="2xx"`, say) among theirs; 0 if there are none.
pub fn sum(page: &str, name: &str, labels: &[&str]) -> f64 {
    let wanted = samples(page).filter(|(n, has, _)| *n == name && labels.iter().all(|l| has.contains(l)));
    wanted.map(|(.., value)| value).sum()
}
