//! Reading one stored stanza, compared with minidom and xmpp-parsers' `Message`.

use std::hint::black_box;
use std::time::Duration;

use ephemerd_lab::{LabError, Result};
use tokio::time::Instant;

use crate::data::Scale;
use crate::progress::Progress;
use crate::report::{Figure, Target};
use crate::stanzas::{all, baseline, read};

const EACH: Duration = Duration::from_millis(300);

pub(crate) const STEPS: usize = 1;

/// Adds a figure for each shape; only the first, the size of most messages, has a target.
pub(crate) fn measure(scale: Scale, figures: &mut Vec<Figure>, progress: &Progress) -> Result<()> {
    progress.step("reading stanzas");
    for (at, it) in all().into_iter().enumerate() {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..scale.runs {
            theirs.push(rate(&it.baseline, baseline)?);
            ours.push(rate(&it.stored, read)?);
        }
        figures.push(Figure {
            what: format!("reading a stored stanza of {} B, {}", it.stored.len(), it.name),
            against: "minidom + Message::try_from".to_owned(),
            unit: "/s".to_owned(),
            ours,
            theirs,
            target: if at == 0 { Target::AtLeast(5.0, 5.0) } else { Target::None },
            sql: String::new(),
        });
    }
    Ok(())
}

/// Stanzas per second.
fn rate(xml: &str, read: impl Fn(&str) -> bool) -> Result<f64> {
    let (mut count, started) = (0_u32, Instant::now());
    while started.elapsed() < EACH {
        for _ in 0..100 {
            if !read(black_box(xml)) {
                return Err(LabError::new("a stanza of the bench cannot be read"));
            }
        }
        count += 100;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}
