use super::*;
use crate::config::DatabaseConfig;

#[test]
fn a_password_in_the_url_is_not_printed() {
    for text in [
        "postgres://ephemerd:pa%40ss@127.0.0.1/prosody",
        "postgresql://ephemerd@127.0.0.1/prosody?sslmode=require&password=pa%40ss",
    ] {
        let url = DatabaseUrl::parse(text).unwrap();
        assert!(url.has_password());
        for shown in [url.to_string(), format!("{url:?}")] {
            assert!(!shown.contains("pa%40ss") && !shown.contains("pa@ss"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
        }
    }
}

#[test]
fn whoever_connects_gets_the_password() {
    for (url, password) in [
        ("postgres://e:hush%40+@db/prosody", None),
        ("postgres://e@db/prosody", Some("hush@+")),
        ("postgres://e@db/prosody?password=hush%40+", None),
        // Nothing in it ends a part early, so it is as unambiguous as if it were encoded.
        ("postgres://e:hush@+@db/prosody", None),
    ] {
        let url = DatabaseUrl::parse(url).unwrap();
        let config = DatabaseConfig { url, password: password.map(Into::into) };
        let options = config.options().remove(0);
        assert!(format!("{options:?}").contains("password: Some(\"hush@+\")"));
        assert_eq!((options.get_host(), options.get_database()), ("db", Some("prosody")));
        assert!(!format!("{config:?}").contains("hush"));
    }
}

#[test]
fn each_form_of_a_host_is_read() {
    let socket = Some(std::path::PathBuf::from("/run/postgresql"));
    for (text, host, port, is_socket) in [
        ("postgres://e@db.example.org/p", "db.example.org", 5432, false),
        ("postgres://e@bücher.example:5433/p", "bücher.example", 5433, false),
        ("postgres://e@[::1]:5433/p", "::1", 5433, false),
        ("postgres://e@/p?host=::1&port=5433", "::1", 5433, false),
        ("postgres://e@db/p?hostaddr=127.0.0.1", "127.0.0.1", 5432, false),
        ("postgres://e@%2Frun%2Fpostgresql/p", "", 5432, true),
        ("postgres://e@%2Frun%2Fpostgresql:5433/p", "", 5433, true),
        ("postgres://e@/p?host=/run/postgresql", "", 5432, true),
        ("postgres:///p?host=%2Frun%2Fpostgresql&user=e", "", 5432, true),
    ] {
        let url = DatabaseUrl::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        let options = url.options().remove(0);
        assert_eq!(options.get_port(), port, "{text}");
        assert_eq!(options.get_socket(), socket.as_ref().filter(|_| is_socket), "{text}");
        assert!(is_socket || options.get_host() == host, "{text}: {options:?}");
        assert_eq!((options.get_username(), options.get_database()), ("e", Some("p")));
        assert_eq!(url.to_string(), text);
    }
}

#[test]
fn other_urls_are_refused() {
    for text in [
        "",
        "prosody",
        "mysql://ephemerd@127.0.0.1/prosody",
        "postgres:/127.0.0.1/prosody",
        "postgres://127.0.0.1:port/prosody",
        "postgres://127.0.0.1:/prosody",
        "postgres://127.0.0.1:0/prosody",
        "postgres://127.0.0.1:65536/prosody",
        "postgres://127.0.0.1:+1/prosody",
        "postgres://[::1/prosody",
        "postgres://[::1]5432/prosody",
        "postgres://[db]/prosody",
        "postgres://e@db/prosody/",
        "postgres://e@db/pro%zzsody",
        "postgres://e@db/pro%2",
        "postgres://e@db/%00",
        "postgres://e@db/%ff",
        "postgres://e@d b/prosody",
        "postgres://127.0.0.1/prosody?sslpassword=secret",
        "postgres://127.0.0.1/prosody?sslmode=perhaps",
        "postgres://127.0.0.1/prosody?port=many",
        "postgres://a,,b/prosody",
        "postgres://a,b/prosody?port=1,2,3",
        "postgres://a/prosody?target_session_attrs=standby",
        "postgres://a/prosody?host=b%20c",
    ] {
        assert!(DatabaseUrl::parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_may_be_the_rest_of_a_password_is_refused_as_that() {
    for text in [
        "postgres://e:/7M+rE@db/prosody",
        "postgres://e:12/34abc@db/prosody",
        "postgres://e:5432#abc@db/prosody",
        "postgres://e:a?b@db/prosody",
        "postgres://e:a?host=b@db/prosody",
        "postgres://e:a b@db/prosody",
        "postgres://e:a%b@db/prosody",
        "postgres://e:12/34/prosody",
        "postgres://e@db/prosody?password=a#b",
        "postgres://e@db/prosody?password=a@b",
        "postgres://e@db/prosody?password=a&b",
    ] {
        let fault = DatabaseUrl::parse(text).unwrap_err();
        assert_eq!(fault.remedy, "percent-encode the password or use password_file", "{text}");
    }
}

#[test]
fn several_hosts_are_read_in_order() {
    for (text, expected) in [
        ("postgres://e@one,two:5433,[::1]:5434/p", [("one", 5432), ("two", 5433), ("::1", 5434)]),
        ("postgres://e@/p?host=one,two,::1&port=1,2,3", [("one", 1), ("two", 2), ("::1", 3)]),
        ("postgres://one,two,three:7/p?port=5", [("one", 5), ("two", 5), ("three", 5)]),
    ] {
        let url = DatabaseUrl::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        let options = url.options();
        let hosts: Vec<_> = options.iter().map(|it| (it.get_host(), it.get_port())).collect();
        assert_eq!(hosts, expected, "{text}");
        assert_eq!(url.to_string(), text);
    }
}

#[test]
fn what_else_may_be_said_is_passed_on() {
    let text = "postgres://e@db/p?application_name=archives&options=-c%20search_path%3Dxmpp&target_session_attrs=read-write";
    let options = DatabaseUrl::parse(text).unwrap().options().remove(0);
    assert_eq!(options.get_application_name(), Some("archives"));
    assert_eq!(options.get_options(), Some("-c search_path=xmpp"));
}

/// Parameters that PostgreSQL's own programs know are named; anything else may be part of a password.
#[test]
fn a_parameter_that_is_refused_is_named() {
    for name in UNSUPPORTED {
        let fault = DatabaseUrl::parse(&format!("postgres://e@db/p?{name}=hush")).unwrap_err();
        assert_eq!(fault.problem, format!("has the parameter {name}, which is not supported"));
        assert_eq!(fault.remedy, format!("remove {name} from the URL"));
    }
    let fault = DatabaseUrl::parse("postgres://e@db/p?wibble=hush").unwrap_err();
    assert!(!format!("{fault:?}").contains("wibble"));
}
