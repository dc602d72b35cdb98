//! A strict parser of the text format of Prometheus, version 0.0.4.

use std::collections::BTreeMap;

/// A page: the families by their names.
#[derive(Debug, Default)]
pub(super) struct Page(pub(super) BTreeMap<String, MetricFamily>);

/// The metrics of one name.
#[derive(Debug, Default)]
pub(super) struct MetricFamily {
    pub(super) kind: String,
    help: String,
    pub(super) samples: Vec<Sample>,
}

/// One value.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The family to which a sample belongs.
fn family_of(sample: &str, families: &BTreeMap<String, MetricFamily>) -> Option<String> {
    if families.contains_key(sample) {
        return Some(sample.to_owned());
    }
    let of_histogram = |suffix| sample.strip_suffix(suffix).filter(|name| families.contains_key(*name));
    ["_bucket", "_sum", "_count"].into_iter().find_map(of_histogram).map(str::to_owned)
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, behind) = rest.split_once("=\"").ok_or(format!("a label without a value in {text}"))?;
        let mut value = String::new();
        let mut characters = behind.char_indices();
        let end = loop {
            match characters.next().ok_or(format!("a value without an end in {text}"))? {
                (at, '"') => break at,
                (_, '\\') => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                    _ => return Err(format!("an unknown escape in {text}")),
                },
                (_, character) => value.push(character),
            }
        };
        if !is_name(name) || labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("the label {name:?} in {text}"));
        }
        rest = behind[end + 1..].strip_prefix(',').unwrap_or(&behind[end + 1..]);
    }
    Ok(labels)
}

fn sample(line: &str) -> Result<Sample, String> {
    let (head, value) = line.rsplit_once(' ').ok_or(format!("no value in {line:?}"))?;
    let (name, labels_text) = match head.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').ok_or(format!("no end of the labels in {line:?}"))?),
        None => (head, ""),
    };
    let value = match value {
        "+Inf" => f64::INFINITY,
        value => value.parse().map_err(|_| format!("the value of {line:?}"))?,
    };
    if !is_name(name) {
        return Err(format!("the name of {line:?}"));
    }
    Ok(Sample { name: name.to_owned(), labels: labels(labels_text)?, value })
}

/// Labels with their values, in the order of their names.
type Labels = Vec<(String, String)>;

/// Checks that the buckets of a histogram grow, and end with the count.
fn check_histogram(family: &MetricFamily) -> Result<(), String> {
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for bucket in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = bucket.labels.clone();
        let le = labels.remove("le").ok_or("a bucket without its end")?;
        let end = if le == "+Inf" { f64::INFINITY } else { le.parse().map_err(|_| format!("le={le}"))? };
        series.entry(labels.into_iter().collect()).or_default().push((end, bucket.value));
    }
    for (labels, buckets) in &series {
        let grows = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let is_labelled = |sample: &&Sample| sample.labels.clone().into_iter().collect::<Labels>() == *labels;
        let mut counts = family.samples.iter().filter(|sample| sample.name.ends_with("_count")).filter(is_labelled);
        let count = counts.next().ok_or("no count")?.value;
        let ends = buckets.last().is_some_and(|(end, value)| end.is_infinite() && (value - count).abs() < 0.5);
        if !grows || !ends {
            return Err(format!("the buckets of {labels:?}: {buckets:?}, {count}"));
        }
    }
    Ok(())
}

impl Page {
    /// Reads a page.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').ok_or(format!("no help in {line:?}"))?;
                let family = MetricFamily { help: help.to_owned(), ..MetricFamily::default() };
                if !is_name(name) || families.insert(name.to_owned(), family).is_some() {
                    return Err(format!("{name:?} is described twice, or is not a name"));
                }
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or(format!("no type in {line:?}"))?;
                kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
            } else if line.starts_with('#') {
                return Err(format!("a comment that says nothing: {line:?}"));
            } else {
                let sample = sample(line)?;
                let family = family_of(&sample.name, &families).ok_or(format!("{line:?} has no type"))?;
                families.get_mut(&family).ok_or("a family")?.samples.push(sample);
            }
        }
        for (name, family) in &families {
            let is_counter = family.kind == "counter";
            if !["counter", "gauge", "histogram"].contains(&family.kind.as_str()) || family.help.is_empty() {
                return Err(format!("{name} has no type or no help: {family:?}"));
            }
            if is_counter != name.ends_with("_total") {
                return Err(format!("{name} is a {}, which its name does not say", family.kind));
            }
            check_histogram(family).map_err(|problem| format!("{name}: {problem}"))?;
        }
        if text.ends_with('\n') { Ok(Self(families)) } else { Err("the last line has no end".to_owned()) }
    }

    /// The sum of the samples of a name that have these labels. `None` if there is none.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let family = self.0.get(&family_of(name, &self.0)?)?;
        let has = |sample: &&Sample| {
            let has_label = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|it| it == value);
            sample.name == name && labels.iter().all(has_label)
        };
        family.samples.iter().filter(has).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }
}

#[test]
fn a_page_that_breaks_the_format_is_found() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c,\\\"d\\\\\"} 1\n";
    let page = Page::parse(good).unwrap();
    assert_eq!(page.value("a_total", &[("b", "c,\"d\\")]), Some(1.0));
    assert_eq!(page.value("a_total", &[("b", "other")]), None);
    for bad in [
        "a 1\n",
        "# HELP a A.\n# TYPE a counter\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na{b=\"c} 1\n",
        "# HELP a A.\n# TYPE a gauge\na{b=\"c\",b=\"d\"} 1\n",
        "# HELP a A.\n# TYPE a gauge\na one\n",
        "# HELP a A.\n# TYPE a gauge\nA 1\n",
        "# TYPE a gauge\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1",
        "# HELP a A.\n# HELP a A.\n# TYPE a gauge\na 1\n",
        "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n",
        "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_count 2\na_sum 1\n",
    ] {
        assert!(Page::parse(bad).is_err(), "{bad}");
    }
}
