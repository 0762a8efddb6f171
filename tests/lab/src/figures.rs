use std::collections::BTreeMap;

use crate::{LabError, Result};

/// What a `/metrics` page says, in Prometheus' text format 0.0.4.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// The page.
    pub text: String,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Figures {
    /// Reads a page.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let read = |line| {
            parse_sample(line).ok_or_else(|| LabError::new(format!("not a sample: {line:?}")))
        };
        let samples = lines.map(read).collect::<Result<_>>()?;
        Ok(Self { text: text.to_owned(), samples })
    }

    /// The sum of all samples with this name and these labels; `None` if there are none.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &Sample| {
            labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|it| it == value))
        };
        let mut found = self.samples.iter().filter(|it| it.name == name && has(it)).peekable();
        found.peek()?;
        Some(found.map(|it| it.value).sum())
    }
}

fn parse_sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at_checked(end)?;
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = parse_labels(inside, &mut labels)?;
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Reads labels up to the closing brace and returns what follows it.
fn parse_labels<'a>(mut rest: &'a str, labels: &mut BTreeMap<String, String>) -> Option<&'a str> {
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        let (key, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        rest = loop {
            match chars.next()? {
                (at, '"') => break quoted.get(at + 1..)?,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    c => value.push(c),
                },
                (_, c) => value.push(c),
            }
        };
        labels.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn samples_are_found_by_name_and_labels_and_summed() {
        let page = "# HELP a x\na 1\nb{k=\"x\",l=\"y\"} 2\nb{k=\"x\",l=\"}\\\"\"} 3.5\nc{} +Inf\n";
        let figures = Figures::parse(page).unwrap();
        assert_eq!(figures.get("a", &[]), Some(1.0));
        assert_eq!(figures.get("b", &[("k", "x")]), Some(5.5));
        assert_eq!(figures.get("b", &[("l", "}\"")]), Some(3.5));
        assert_eq!(figures.get("b", &[("l", "z")]), None);
        assert_eq!(figures.get("c", &[]), Some(f64::INFINITY));
        assert!(Figures::parse("a{k=\"x\" 1").is_err());
    }
}
