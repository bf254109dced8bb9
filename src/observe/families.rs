//! Families of metrics in the types of the encoder, from counters and histograms of several blocks.

use super::stats::{BOUNDS_MICROS, Counter, Histogram};
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

/// The labels of a sample.
pub(super) type Labels = Vec<LabelPair>;

pub(super) fn counter(name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) -> MetricFamily {
    family(name, help, MetricType::COUNTER, samples, |metric, value| {
        let mut counter = proto::Counter::default();
        counter.set_value(value as f64);
        metric.set_counter(counter);
    })
}

pub(super) fn gauge(name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, samples, |metric, value| {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value as f64);
        metric.set_gauge(gauge);
    })
}

/// Each sample is the sum of several histograms.
pub(super) fn histogram<'a>(name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, Vec<&'a Histogram>)>) -> MetricFamily {
    family(name, help, MetricType::HISTOGRAM, samples, |metric, parts| {
        let in_bucket = |i: usize| sum(parts.iter().map(|part| &part.buckets[i]));
        let mut count = 0;
        let buckets = BOUNDS_MICROS.iter().enumerate().map(|(i, &bound)| {
            count += in_bucket(i);
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound as f64 / 1e6);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count + in_bucket(BOUNDS_MICROS.len())); // the encoder makes +Inf of it
        histogram.set_sample_sum(sum(parts.iter().map(|part| &part.sum_micros)) as f64 / 1e6);
        metric.set_histogram(histogram);
    })
}

pub(super) fn family<T>(
    name: &str,
    help: &str,
    kind: MetricType,
    samples: impl IntoIterator<Item = (Labels, T)>,
    fill: impl Fn(&mut Metric, T),
) -> MetricFamily {
    let metrics = samples.into_iter().map(|(labels, value)| {
        let mut metric = Metric::from_label(labels);
        fill(&mut metric, value);
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

/// The values of a label with their indices.
pub(super) fn numbered<const N: usize>(name: &str, values: [&str; N]) -> impl Iterator<Item = (usize, LabelPair)> {
    values.map(|value| label(name, value)).into_iter().enumerate()
}

pub(super) fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value.into());
    pair
}

/// One cell of every block, summed up.
pub(super) fn total<'a, B>(blocks: impl IntoIterator<Item = &'a B>, cell: impl Fn(&'a B) -> &'a Counter) -> u64
where
    B: 'a,
{
    sum(blocks.into_iter().map(cell))
}

/// Wraps around, as the cells do.
pub(super) fn sum<'a>(cells: impl Iterator<Item = &'a Counter>) -> u64 {
    cells.fold(0, |sum, cell| sum.wrapping_add(cell.value()))
}
