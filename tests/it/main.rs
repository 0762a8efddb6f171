//! The daemon as an operator runs it: the program itself, against real servers, judged by what those servers show.

mod support;
