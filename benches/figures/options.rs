//! The bench's options.

use std::path::PathBuf;

use crate::data::Scale;
use crate::{
    age, belonging, delay, ejabberd, erase, flat, instead, reader, reading, rooms, sweep, traffic,
};

pub(crate) const HELP: &str = "\
./dev bench [--json FILE] [--quick] [--sql] [--only PART,PART] [--growth | --all] [--pages | --draw]

  --json FILE    writes the table as JSON, too
  --quick        few rows, one run: to see that it works, not to judge by
  --sql          prints the alternatives' SQL and plans
  --only PARTS   some of erase, flat, delay, sweep, age, instead, ejabberd, reader, reading, belonging, rooms,
                 traffic
  --growth       instead of the table, archives of 10,000 to 10,000,000 rows; takes half an hour and 30 GB of disk
  --most ROWS    with --growth, no archive larger than this
  --all          both
  --pages        puts the results into docs/performance.json and draws page and charts from it
  --draw         draws page and charts again, and measures nothing";

/// The parts of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Erase,
    Flat,
    Delay,
    Sweep,
    Age,
    Instead,
    Ejabberd,
    Reader,
    Reading,
    Belonging,
    Rooms,
    Traffic,
}

impl Part {
    pub(crate) const ALL: [Self; 12] = [
        Self::Erase,
        Self::Flat,
        Self::Delay,
        Self::Sweep,
        Self::Age,
        Self::Instead,
        Self::Ejabberd,
        Self::Reader,
        Self::Reading,
        Self::Belonging,
        Self::Rooms,
        Self::Traffic,
    ];

    fn named(name: &str) -> Result<Self, String> {
        let part = Self::ALL.into_iter().find(|it| format!("{it:?}").to_lowercase() == name);
        part.ok_or_else(|| format!("{name} is not a part of the table"))
    }

    pub(crate) fn steps(self, scale: Scale) -> usize {
        match self {
            Self::Erase => erase::steps(scale),
            Self::Flat => flat::steps(scale),
            Self::Delay => delay::steps(scale),
            Self::Sweep => sweep::steps(scale),
            Self::Age => age::steps(scale),
            Self::Instead => instead::steps(scale),
            Self::Ejabberd => ejabberd::steps(scale),
            Self::Reader => reader::STEPS,
            Self::Reading => reading::steps(scale),
            Self::Belonging => belonging::steps(scale),
            Self::Rooms => rooms::steps(scale),
            Self::Traffic => traffic::steps(scale),
        }
    }
}

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) json: Option<PathBuf>,
    pub(crate) quick: bool,
    pub(crate) sql: bool,
    pub(crate) only: Vec<Part>,
    /// Up to this many rows.
    pub(crate) growth: Option<i64>,
    pub(crate) all: bool,
    pub(crate) pages: Option<PathBuf>,
    pub(crate) draw: bool,
}

impl Options {
    /// `None` if help was requested.
    pub(crate) fn read(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut options, mut most) = (Self::default(), i64::MAX);
        let docs = || Some(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")));
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--json" => options.json = Some(value()?.into()),
                "--quick" => options.quick = true,
                "--sql" => options.sql = true,
                "--only" => {
                    options.only =
                        value()?.split(',').map(Part::named).collect::<Result<_, _>>()?;
                }
                "--growth" => options.growth = Some(i64::MAX),
                "--most" => most = value()?.parse().map_err(|_| "--most needs a number")?,
                "--all" => (options.all, options.growth) = (true, Some(i64::MAX)),
                "--pages" => options.pages = docs(),
                "--draw" => (options.draw, options.pages) = (true, docs()),
                "--help" | "-h" => return Ok(None),
                "--bench" => {} // added by cargo bench
                other => return Err(format!("{other} is not an option")),
            }
        }
        options.growth = options.growth.map(|it| it.min(most));
        Ok(Some(options))
    }
}
