//! Line charts as SVG: archive size horizontally, one measure vertically, both logarithmic.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 48.0;

/// Distinguishable without colour vision: each has its own mark and dash.
const STYLES: [(&str, &str); 4] =
    [("#0b6fa4", ""), ("#c8500a", "7 4"), ("#2f7d32", "2 3"), ("#7a3e9d", "9 3 2 3")];

/// One line.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart.
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    /// The vertical measure, with its unit.
    pub(crate) measure: &'static str,
    /// How a value on the axis is formatted.
    pub(crate) write: fn(f64) -> String,
    pub(crate) series: Vec<Series>,
}

/// A logarithmic axis between two powers of ten.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let positive = || values.clone().filter(|it| *it > 0.0);
        let low = positive().fold(f64::INFINITY, f64::min).log10().floor();
        let high = positive().fold(0.0, f64::max).log10().ceil();
        Self { low, high: high.max(low + 1.0), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.max(10_f64.powf(self.low)).log10() - self.low) / (self.high - self.low);
        self.from + share * (self.to - self.from)
    }

    /// The powers of ten, with twos and fives in between if there are few.
    fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.high - self.low <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = (0..).map(|nr| self.low + f64::from(nr)).take_while(|it| *it <= self.high);
        let ticks = powers.flat_map(|power| steps.iter().map(move |it| it * 10_f64.powf(power)));
        let most = 10_f64.powf(self.high) * 1.001;
        ticks.filter(|it| *it <= most).collect()
    }
}

impl Chart {
    /// The chart as a self-contained file.
    pub(crate) fn svg(&self) -> String {
        let all = || self.series.iter().flat_map(|it| it.points.iter().copied());
        let across = Axis::over(all().map(|it| it.0), LEFT + 16.0, WIDTH - RIGHT - 16.0);
        let up = Axis::over(all().map(|it| it.1), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' \
             font-family='DejaVu Sans, Verdana, sans-serif' font-size='12' fill='#222'>\n\
             <title>{0}</title>\n<rect width='{WIDTH}' height='{HEIGHT}' fill='#fff'/>\n\
             <text x='{LEFT}' y='22' font-size='15' font-weight='bold'>{0}</text>\n",
            self.title
        );
        self.axes(&mut svg, &across, &up);
        for (series, style) in self.series.iter().zip(STYLES) {
            line(&mut svg, series, style, |(x, y)| (across.at(x), up.at(y)));
        }
        self.legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String, across: &Axis, up: &Axis) {
        let bottom = HEIGHT - BOTTOM;
        for tick in up.ticks() {
            let (y, label) = (up.at(tick), (self.write)(tick));
            let _ = writeln!(
                svg,
                "<path d='M{LEFT} {y:.1}H{}' stroke='#ddd'/>\
                 <text x='{}' y='{:.1}' text-anchor='end'>{label}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0
            );
        }
        for tick in across.ticks() {
            let (x, label) = (across.at(tick), count(tick));
            let _ = writeln!(
                svg,
                "<path d='M{x:.1} {bottom}v5' stroke='#222'/>\
                 <text x='{x:.1}' y='{}' text-anchor='middle'>{label}</text>",
                bottom + 19.0
            );
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let _ = writeln!(
            svg,
            "<path d='M{LEFT} {bottom}H{}' stroke='#222'/>\
             <text x='{middle}' y='{}' text-anchor='middle'>rows in the archive, 1% due</text>",
            WIDTH - RIGHT,
            HEIGHT - 10.0
        );
    }

    fn legend(&self, svg: &mut String) {
        let _ = writeln!(svg, "<text x='{LEFT}' y='44' fill='#555'>{}</text>", self.measure);
        let mut x = WIDTH - RIGHT;
        for (at, series) in self.series.iter().enumerate().rev() {
            let (color, dash) = STYLES.get(at).copied().unwrap_or_default();
            x -= series.name.len() as f64 * 6.8 + 46.0;
            let _ = writeln!(
                svg,
                "<path d='M{x:.1} 40h28' stroke='{color}' stroke-width='2' stroke-dasharray='{dash}'/>\
                 <text x='{:.1}' y='44'>{}</text>",
                x + 34.0,
                series.name
            );
        }
    }
}

fn line(
    svg: &mut String,
    series: &Series,
    (color, dash): (&str, &str),
    place: impl Fn((f64, f64)) -> (f64, f64),
) {
    let places: Vec<_> = series.points.iter().map(|it| place(*it)).collect();
    let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        svg,
        "<polyline points='{}' fill='none' stroke='{color}' stroke-width='2' stroke-dasharray='{dash}'/>",
        path.join(" ")
    );
    for (x, y) in places {
        let _ = writeln!(svg, "<circle cx='{x:.1}' cy='{y:.1}' r='3.5' fill='{color}'/>");
    }
}

/// A number of rows.
fn count(value: f64) -> String {
    match value {
        1e6.. => format!("{} million", value / 1e6),
        1e3.. => format!("{},000", (value / 1e3).round()),
        _ => value.to_string(),
    }
}

/// A plain number, shortened.
pub(crate) fn plain(value: f64) -> String {
    match value {
        1e6.. => format!("{} million", value / 1e6),
        1e3.. => format!("{},000", (value / 1e3).round()),
        1.0.. => format!("{}", value.round()),
        _ => format!("{value}"),
    }
}

/// Bytes, in powers of a thousand.
pub(crate) fn bytes(value: f64) -> String {
    match value {
        1e9.. => format!("{} GB", value / 1e9),
        1e6.. => format!("{} MB", value / 1e6),
        1e3.. => format!("{} kB", value / 1e3),
        _ => format!("{value} B"),
    }
}
