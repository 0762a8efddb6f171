//! What an operator deploys: the package, the units, the images' recipes, and the alerts, each with what it is made for. Too heavy for the
//! default suite: `./dev test --deploy`.

// `cfg(test)` on each line lets clippy know that helpers here are tests too.
#[cfg(test)]
mod alerts;
#[cfg(test)]
mod rules;
