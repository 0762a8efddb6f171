//! Rows of ejabberd's own database, written while no ejabberd runs on it.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::Ejabberd;
use crate::launch::Launch;
use crate::{LabError, Result};

const WITHIN: Duration = Duration::from_secs(120);

impl Ejabberd {
    /// Repeats the first row of a user's archive in Mnesia this many times, each under an id of its own, older than all
    /// others. ejabberd must have been stopped. Message by message this takes minutes.
    pub async fn repeat_row(&self, user: &str, times: usize) -> Result<()> {
        let file = self.folder.path().join("data/archive_msg.DAT");
        let repeat = format!(
            "{{ok, T}} = dets:open_file(archive_msg, [{{file, {file:?}}}, {{type, bag}}, {{keypos, 2}}]),
             [Row | _] = dets:lookup(T, {{<<\"{user}\">>, <<\"{domain}\">>}}),
             First = binary_to_integer(element(3, Row)),
             Stamp = fun(N) -> {{N div 1000000000000, N div 1000000 rem 1000000, N rem 1000000}} end,
             Rows = [setelement(4, setelement(3, Row, integer_to_binary(N)), Stamp(N))
                     || N <- lists:seq(First - {times}, First - 1)],
             ok = dets:insert(T, Rows), ok = dets:close(T), halt(0).",
            domain = self.endpoints.domain,
        );
        let done = Launch::new("erl", "erl", Signal::SIGTERM)
            .user(self.user.as_ref())
            .args(["-noshell", "-eval", &repeat])
            .output("", WITHIN)
            .await?;
        match done.code {
            Some(0) => Ok(()),
            _ => Err(LabError::new(format!("erl: {}{}", done.stdout, done.stderr))),
        }
    }
}
