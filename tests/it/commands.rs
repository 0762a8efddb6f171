//! docs/commands.md is what the program prints. `TRYCMD=overwrite cargo test --test it commands` rewrites it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use crate::pages::root;

const PAGE: &str = "docs/commands.md";

/// The files that its commands find in their working directory.
const FILES: [(&str, &str); 2] = [
    (
        "ephemerd.toml",
        "[component]\njid = \"ephemerd.example.org\"\nserver = \"127.0.0.1:5347\"\nsecret = \"s3cret\"\n\
         [database]\nurl = \"postgres://ephemerd@127.0.0.1/prosody\"\n\
         [archive]\nkind = \"prosody\"\nhosts = [\"example.org\", \"conference.example.org\"]\n",
    ),
    (
        "message.xml",
        "<message from='alice@example.org/phone' to='bob@example.org' type='chat' id='m1'>\
         <body>gone in a minute</body><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/></message>\n",
    ),
];

#[test]
fn the_page_matches_the_output() {
    let folder = tempfile::tempdir().expect("a folder");
    // trycmd looks for the files beside the page; the page itself has none there.
    let copy = folder.path().join("commands.md");
    fs::copy(root().join(PAGE), &copy).expect("the page is there");
    let files = folder.path().join("commands.in");
    fs::create_dir(&files).expect("a folder");
    for (name, text) in FILES {
        fs::write(files.join(name), text).expect("a file");
        // It contains a secret, which `config` would warn about.
        fs::set_permissions(files.join(name), Permissions::from_mode(0o600)).expect("its mode");
    }
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("ephemerd", std::path::Path::new(env!("CARGO_BIN_EXE_ephemerd")))
        .env("EPHEMERD_CONFIG", "ephemerd.toml")
        .case(&copy);
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cases.run()));
    if std::env::var_os("TRYCMD").is_some_and(|it| it == "overwrite") {
        fs::copy(&copy, root().join(PAGE)).expect("the page is written");
    }
    if let Err(differs) = ran {
        std::panic::resume_unwind(differs);
    }
}
