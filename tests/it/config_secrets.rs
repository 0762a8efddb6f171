//! Secrets in the configuration: from one place each, and in nothing that is printed.

use std::fs;

use secrecy::ExposeSecret as _;

use crate::config::{FILE, minimal, read};
use crate::support::MINIMAL;

#[test]
fn a_secret_comes_from_one_place() {
    let error = read(MINIMAL, &[("EPHEMERD__COMPONENT__SECRET_FILE", "/x")]).unwrap_err();
    assert_eq!(
        error,
        format!(
            "component.secret ({FILE}) and component.secret_file (EPHEMERD__COMPONENT__SECRET_FILE) \
             are both set\nhelp: keep one of them"
        )
    );
    let url = "url = \"postgres://ephemerd:pw@127.0.0.1/prosody\"\npassword = \"pw2\"";
    let error = read(&MINIMAL.replace("url = \"postgres://ephemerd@127.0.0.1/prosody\"", url), &[]);
    assert!(
        error.unwrap_err().starts_with("database.url contains a password, and another one is set")
    );
}

#[test]
fn a_secret_file_loses_one_line_end_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let line = format!("secret_file = {:?}", file.to_str().unwrap());
    let text = MINIMAL.replace("secret = \"s3cret-of-component\"", &line);
    for (written, secret) in [
        ("\u{feff}s3cret\n", "s3cret"),
        ("s3cret", "s3cret"),
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        (" s \n", " s "),
    ] {
        fs::write(&file, written).unwrap();
        let config = read(&text, &[]).unwrap();
        assert_eq!(config.component.secret.expose_secret(), secret, "{written:?}");
    }
    for written in ["", "\n", "a\n\n", "a\nb\n"] {
        fs::write(&file, written).unwrap();
        assert!(read(&text, &[]).unwrap_err().starts_with("component.secret_file "), "{written:?}");
    }
    fs::write(&file, "x".repeat(5000)).unwrap();
    assert!(read(&text, &[]).unwrap_err().contains("the file is too long"));
    fs::remove_file(&file).unwrap();
    let error = read(&text, &[]).unwrap_err();
    let start =
        format!("cannot read {}, named by component.secret_file ({FILE}): ", file.display());
    assert!(error.starts_with(&start) && error.contains("\nhelp: create "), "{error}");
}

/// Whatever is wrong, and wherever a secret was put, no message repeats it.
#[test]
fn secrets_are_never_printed() {
    const WORD: &str = "s3cret-of-component";
    let config = minimal();
    for shown in [format!("{config:?}"), config.render(), config.to_json().to_string()] {
        assert!(!shown.contains(WORD), "{shown}");
    }
    for (text, environment) in [
        (format!("[component]\nsecret = {WORD}"), None),
        (format!("[component]\nsecret = \"{WORD}"), None),
        (format!("secret = \"{WORD}\""), None),
        (format!("component = \"{WORD}\""), None),
        (format!("[component]\nsecret = [\"{WORD}\"]"), None),
        (format!("[component]\nsecret = {{ is = \"{WORD}\" }}"), None),
        (format!("[component]\nsecrets = \"{WORD}\""), None),
        (format!("[component]\nserver = \"{WORD}\"\njid = \"a\""), None),
        (format!("[log]\nlevel = \"{WORD}\""), None),
        (String::new(), Some("EPHEMERD__COMPONENT")),
        (String::new(), Some("EPHEMERD__SECRET")),
        (String::new(), Some("EPHEMERD__COMPONENT__SECRET__IS")),
        (String::new(), Some("EPHEMERD__COMPONENT__SECRETS")),
        (String::new(), Some("EPHEMERD__DATABASE__URL")),
    ] {
        let environment: Vec<_> = environment.map(|name| (name, WORD)).into_iter().collect();
        let error = read(&text, &environment).unwrap_err();
        assert!(!error.contains(WORD), "{text}: {error}");
        assert!(error.contains("\nhelp: "), "{error}");
    }
}
