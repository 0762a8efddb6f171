//! The demo's output: redrawn in place on a terminal, otherwise one table per change.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use ephemerd_lab::Figures;
use tokio::time::Instant;

use crate::scene::{Line, Scene, Seen};

type Figure = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// The figures shown at the end: description, name and labels.
const FIGURES: [Figure; 6] = [
    ("marked messages found", "ephemerd_stanzas_inspected_total", &[("outcome", "marked")]),
    ("rows erased in archives", "ephemerd_erased_total", &[("store", "archive")]),
    ("rows erased in rooms", "ephemerd_erased_total", &[("store", "room")]),
    ("rows still to go", "ephemerd_pending_expiries", &[]),
    ("erasures that failed", "ephemerd_erase_failures_total", &[]),
    ("connected to the server", "ephemerd_component_connected", &[]),
];

/// The table of messages fits into this.
const COLUMNS: u16 = 80;

pub(crate) struct View {
    is_terminal: bool,
    /// The table can be redrawn over the last one.
    in_place: bool,
    /// The table as last printed.
    last: String,
}

impl View {
    pub(crate) fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let in_place = is_terminal && Table::new().width().is_some_and(|width| width >= COLUMNS);
        Self { is_terminal, in_place, last: String::new() }
    }

    /// Prints a line. A closed output is no reason to stop before the servers have stopped.
    pub(crate) fn line(&self, text: &str) {
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// Says that something is ready, and how long it took.
    pub(crate) fn step(&self, what: &str, since: Instant) {
        self.line(&format!("  {what}: ready in {:.1} s", since.elapsed().as_secs_f64()));
    }

    pub(crate) fn good(&self, text: &str) {
        self.coloured("32", text);
    }

    pub(crate) fn bad(&self, text: &str) {
        self.coloured("31", text);
    }

    fn coloured(&self, code: &str, text: &str) {
        if self.is_terminal && std::env::var_os("NO_COLOR").is_none() {
            self.line(&format!("\x1b[{code}m{text}\x1b[0m"));
        } else {
            self.line(text);
        }
    }

    /// Shows the messages' current state.
    pub(crate) fn table(&mut self, scene: &Scene) {
        let mut table =
            new_table(&["by", "where", "message", "timer", "Peter finds", "Rosa finds"]);
        for line in &scene.lines {
            let place = if line.in_room { "room" } else { "chat" };
            let mut timer =
                line.timer_seconds.map_or(String::new(), |seconds| format!("{seconds} s"));
            if line.read_after > 0 {
                let _ = write!(timer, ", read after {} s", line.read_after);
            }
            let mut row = vec![
                Cell::new(line.by.name()),
                Cell::new(place),
                Cell::new(&line.body),
                Cell::new(timer),
            ];
            let seen = line.seen.into_iter().enumerate();
            row.extend(seen.map(|(at, seen)| cell((line, at), seen, self.in_place)));
            table.add_row(row);
        }
        let text = table.to_string();
        if text == self.last {
            return;
        }
        if self.in_place && !self.last.is_empty() {
            // Up to the last table's first line, and clear from there on.
            self.line(&format!("\x1b[{}A\x1b[0J{text}", self.last.lines().count()));
        } else {
            self.line(&text);
        }
        self.last = text;
    }

    /// Shows a few figures of `/metrics`.
    pub(crate) fn figures(&self, figures: &Figures) {
        self.line("\nWhat ephemerd tells Prometheus:\n");
        let mut table = new_table(&["", "figure", "value"]);
        for (what, name, labels) in FIGURES {
            let labels_text: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
            let label = match labels_text.as_slice() {
                [] => name.to_owned(),
                some => format!("{name}{{{}}}", some.join(",")),
            };
            let value = figures.get(name, labels).map_or("missing".to_owned(), |it| it.to_string());
            table.add_row([what.to_owned(), label, value]);
        }
        let delay = "ephemerd_erase_delay_seconds";
        let part = |suffix: &str| figures.get(&format!("{delay}_{suffix}"), &[]).unwrap_or(0.0);
        let mean = part("sum") / part("count").max(1.0);
        table.add_row([
            "from due to erased, mean".to_owned(),
            delay.to_owned(),
            format!("{mean:.3} s"),
        ]);
        self.line(&format!("{table}\n"));
    }
}

fn cell((line, finder): (&Line, usize), seen: Seen, in_place: bool) -> Cell {
    match (seen, line.lives(finder)) {
        (Seen::There, Some(seconds)) if in_place => {
            let left = f64::from(seconds) - line.said.elapsed().as_secs_f64();
            Cell::new(format!("{:.0} s left", left.max(0.0))).fg(Color::Yellow)
        }
        (Seen::There, Some(_)) => Cell::new("there"),
        (Seen::There, None) => Cell::new("there").fg(Color::Green),
        (Seen::GoneAfter(after), timer) => {
            let colour = if timer.is_some() { Color::DarkGrey } else { Color::Red };
            Cell::new(format!("gone, {:.1} s", after.as_secs_f64())).fg(colour)
        }
    }
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    if table.width().is_some_and(|width| width >= COLUMNS) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(header.to_vec());
    table
}
