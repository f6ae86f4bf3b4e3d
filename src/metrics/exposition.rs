//! The figures as text: which of the two formats a scraper wants, and the second one's encoder.
//!
//! The Prometheus text format (0.0.4) is written by the `prometheus` crate. OpenMetrics 1.0 has no
//! encoder for gathered families, so a small one is here, for the three types we use.

use std::fmt::Write as _;

use prometheus::TextEncoder;
use prometheus::proto::{Metric, MetricFamily, MetricType};

/// The text formats of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Prometheus,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

/// The only version of OpenMetrics that is written here.
const OPENMETRICS_VERSION: &str = "1.0.0";

/// Units that a metric's name ends with; OpenMetrics repeats them in a line of their own.
const UNITS: [&str; 2] = ["seconds", "bytes"];

impl Format {
    /// What an `Accept` header asks for (RFC 9110, section 12.5.1): OpenMetrics when it is named,
    /// in our version or none, and no less welcome than plain text; else Prometheus text, which
    /// every scraper and every person with a browser can read.
    pub fn negotiate(accept: Option<&str>) -> Format {
        let (mut openmetrics, mut text) = (0.0f32, 0.0f32);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut ours) = (1.0, true);
            for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = quality(value),
                    "version" => ours = value == OPENMETRICS_VERSION,
                    _ => {} // charset, escaping: nothing that we would write differently
                }
            }
            match kind.as_str() {
                "application/openmetrics-text" if ours => openmetrics = weight.max(openmetrics),
                "text/plain" | "text/*" | "*/*" => text = weight.max(text),
                _ => {}
            }
        }
        if openmetrics > 0.0 && openmetrics >= text {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        }
    }

    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    pub(super) fn encode(self, families: &[MetricFamily]) -> String {
        let mut text = String::new();
        match self {
            Format::Prometheus => {
                if let Err(error) = TextEncoder::new().encode_utf8(families, &mut text) {
                    tracing::error!(%error, "metrics were written in part");
                }
            }
            Format::OpenMetrics => openmetrics(families, &mut text),
        }
        text
    }
}

/// A quality value; what is none makes its range unwanted.
fn quality(value: &str) -> f32 {
    value
        .parse()
        .ok()
        .filter(|q| (0.0..=1.0).contains(q))
        .unwrap_or(0.0)
}

fn openmetrics(families: &[MetricFamily], text: &mut String) {
    for family in families {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            // We have none of these; a scraper is better off without a family than without all.
            MetricType::SUMMARY | MetricType::UNTYPED => continue,
        };
        // The family of a counter is named without the suffix that its sample has.
        let name = match family.get_field_type() {
            MetricType::COUNTER => family
                .name()
                .strip_suffix("_total")
                .unwrap_or(family.name()),
            _ => family.name(),
        };
        push(text, format_args!("# TYPE {name} {kind}\n"));
        let ends_with = |unit: &&&str| name.strip_suffix(**unit).is_some_and(|n| n.ends_with('_'));
        if let Some(unit) = UNITS.iter().find(ends_with) {
            push(text, format_args!("# UNIT {name} {unit}\n"));
        }
        push(
            text,
            format_args!("# HELP {name} {}\n", escape(family.help())),
        );
        for metric in family.get_metric() {
            match family.get_field_type() {
                MetricType::COUNTER => {
                    sample(
                        text,
                        name,
                        "_total",
                        metric,
                        None,
                        metric.get_counter().get_value(),
                    );
                }
                MetricType::GAUGE => {
                    sample(text, name, "", metric, None, metric.get_gauge().get_value());
                }
                _ => histogram(text, name, metric),
            }
        }
    }
    text.push_str("# EOF\n");
}

fn histogram(text: &mut String, name: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count() as f64;
    for bucket in histogram
        .get_bucket()
        .iter()
        .filter(|bucket| bucket.upper_bound().is_finite())
    {
        // `{:?}`: the canonical form of a bound has a point, `1.0` and not `1`.
        let bound = format!("{:?}", bucket.upper_bound());
        sample(
            text,
            name,
            "_bucket",
            metric,
            Some(&bound),
            bucket.cumulative_count() as f64,
        );
    }
    sample(text, name, "_bucket", metric, Some("+Inf"), count);
    sample(text, name, "_count", metric, None, count);
    sample(text, name, "_sum", metric, None, histogram.get_sample_sum());
}

/// One line: name, labels, value.
fn sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    metric: &Metric,
    bound: Option<&str>,
    value: f64,
) {
    text.push_str(name);
    text.push_str(suffix);
    let labels = metric
        .get_label()
        .iter()
        .map(|label| (label.name(), label.value()));
    let mut before = '{';
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        push(text, format_args!("{before}{name}=\"{}\"", escape(value)));
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    match value {
        f64::INFINITY => text.push_str(" +Inf\n"),
        f64::NEG_INFINITY => text.push_str(" -Inf\n"),
        value => push(text, format_args!(" {value}\n")), // also `NaN`
    }
}

/// Backslash, quote and line feed as OpenMetrics wants them, in labels and in help.
fn escape(value: &str) -> std::borrow::Cow<'_, str> {
    if value.contains(['\\', '"', '\n']) {
        value
            .replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace('\n', r"\n")
            .into()
    } else {
        value.into()
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(line); // a String takes all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_format_it_asks_for() {
        use Format::{OpenMetrics, Prometheus};
        for (accept, format) in [
            (None, Prometheus),
            (Some(""), Prometheus),
            (Some("*/*"), Prometheus),
            (
                Some("text/html,application/xhtml+xml,*/*;q=0.8"),
                Prometheus,
            ),
            (Some("text/plain"), Prometheus),
            (Some("application/openmetrics-text"), OpenMetrics),
            (
                Some("application/openmetrics-text; version=1.0.0; charset=utf-8"),
                OpenMetrics,
            ),
            (
                Some("Application/OpenMetrics-Text; Version=\"1.0.0\""),
                OpenMetrics,
            ),
            // As Prometheus 2 and 3 ask.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                     version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                OpenMetrics,
            ),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                     application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
                     escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ),
                OpenMetrics,
            ),
            (Some("text/plain;version=0.0.4,*/*;q=0.1"), Prometheus),
            (
                Some("application/openmetrics-text;version=0.0.1"),
                Prometheus,
            ),
            (
                Some("application/openmetrics-text;q=0.3,text/plain;q=0.9"),
                Prometheus,
            ),
            (Some("application/openmetrics-text;q=0"), Prometheus),
            (Some("application/openmetrics-text;q=NaN"), Prometheus),
            (
                Some("application/openmetrics-text;q=-1,;;=,q=;"),
                Prometheus,
            ),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept:?}");
        }
    }
}
