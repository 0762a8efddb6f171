//! Questions on a terminal, with their defaults. They go to stderr: stdout is for what is to be kept.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use secrecy::SecretString;

use super::Failure;

/// How often a question is asked again after an answer that cannot be used.
const ATTEMPTS: usize = 5;

/// What Ctrl-C types.
const INTERRUPT: u8 = 3;

/// A longer answer is none: the longest are lists of hosts.
const MOST_BYTES: usize = 64 * 1024;

pub(super) struct Ask {
    is_possible: bool,
}

impl Ask {
    pub(super) fn new() -> Self {
        Self { is_possible: io::stdin().is_terminal() && io::stderr().is_terminal() }
    }

    /// Whether somebody is there to answer.
    pub(super) const fn is_possible(&self) -> bool {
        self.is_possible
    }

    /// What is given; else what is answered; without a terminal, the default.
    pub(super) fn unless<T>(
        &self,
        given: Option<T>,
        what: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        match given {
            Some(given) => Ok(given),
            None if self.is_possible => self.for_value(what, Some(default), read),
            None => read(default).map_err(Failure::Usage),
        }
    }

    /// Asks until the answer can be used. An empty one means the default.
    pub(super) fn for_value<T>(
        &self,
        what: &str,
        default: Option<&str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let shown = default.map(|it| format!(" [{it}]")).unwrap_or_default();
        for _ in 0..ATTEMPTS {
            note(&format!("{what}{shown}: "));
            let answer = line()?;
            let answer = if answer.is_empty() { default.unwrap_or_default() } else { &answer };
            match read(answer) {
                Ok(value) => return Ok(value),
                Err(problem) => note(&format!("This cannot be used: {problem}.\n")),
            }
        }
        Err(Failure::Usage("no answer could be used\nhelp: see `ephemerd init --help`".to_owned()))
    }

    /// Whether this word is typed in answer, as `read` understands it.
    pub(super) fn is_confirmed<T: PartialEq>(
        &self,
        what: &str,
        word: &T,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<bool, Failure> {
        note(&format!("{what}: "));
        Ok(read(&line()?).as_ref() == Some(word))
    }

    /// Asks for a secret, which is not shown.
    pub(super) fn for_secret(&self, what: &str) -> Result<Option<SecretString>, Failure> {
        // Before the question: nobody may have answered by then.
        let silence = Silence::begin();
        note(&format!("{what}: "));
        let answer = line();
        drop(silence);
        note("\n");
        if answer.as_ref().is_ok_and(|it| it.contains(char::from(INTERRUPT))) {
            return Err(Failure::Usage("interrupted; nothing was written".to_owned()));
        }
        Ok(Some(answer?).filter(|it| !it.is_empty()).map(SecretString::from))
    }
}

/// To stderr; if that is closed, nobody is listening.
fn note(text: &str) {
    let mut stderr = io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

fn line() -> Result<String, Failure> {
    match bytes() {
        Ok(bytes) if bytes.is_empty() => {
            Err(Failure::Usage("the questions were not answered; nothing was written".to_owned()))
        }
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(answer) => Ok(answer.trim().to_owned()),
            Err(_) => {
                Err(Failure::Usage("the answer is not UTF-8; nothing was written".to_owned()))
            }
        },
        Err(error) => Err(Failure::Other(format!("cannot read an answer: {}", error.kind()))),
    }
}

/// Up to the end of a line, or to Ctrl-C where that does not end us.
fn bytes() -> io::Result<Vec<u8>> {
    let (mut input, mut bytes) = (io::stdin().lock(), Vec::new());
    while bytes.len() < MOST_BYTES {
        let more = input.fill_buf()?;
        let end = more.iter().position(|it| *it == b'\n' || *it == INTERRUPT);
        let taken = end.map_or(more.len(), |at| at + 1);
        bytes.extend(more.iter().take(taken));
        input.consume(taken);
        if end.is_some() || taken == 0 {
            break;
        }
    }
    Ok(bytes)
}

/// While this lives, the terminal does not show what is typed, and Ctrl-C ends the answer: it must not end us before the
/// terminal shows again what is typed.
struct Silence(Option<Termios>);

impl Silence {
    fn begin() -> Self {
        let Ok(before) = tcgetattr(io::stdin()) else { return Self(None) };
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
        if let Some(ends) = silent.control_chars.get_mut(SpecialCharacterIndices::VEOL as usize) {
            *ends = INTERRUPT;
        }
        let is_silent = tcsetattr(io::stdin(), SetArg::TCSANOW, &silent).is_ok();
        Self(is_silent.then_some(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
