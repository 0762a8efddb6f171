//! What an operator deploys: the package, units, image recipes and alerts, each with the real program that
//! uses them, and the status page. Too heavy for the default suite: `./dev test --deploy`.

// `cfg(test)` on each line lets clippy know that helpers here are tests too.
#[cfg(test)]
mod alerts;
#[cfg(test)]
mod compose;
#[cfg(test)]
mod package;
#[cfg(test)]
mod page;
#[cfg(test)]
mod rules;
