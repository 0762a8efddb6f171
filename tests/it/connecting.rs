//! The ways in which an operator may write the database's address: each form, several hosts, TLS; and the
//! messages if one leads nowhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::{
    Daemon, DaemonConfig, Gate, Lab, PATIENCE, Postgres, PostgresConfig, Result, eventually,
};
use tempfile::TempDir;

use crate::support::{archive_marked, gone, program, run, start};

/// Creates a key and a certificate `name.pem` with these options of `openssl req`.
fn certificate(folder: &Path, name: &str, args: &[&str]) {
    let (key, pem) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
    let mut made = Command::new("openssl");
    made.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    made.args(["-nodes", "-days", "2", "-config", "/dev/null"]).args(args);
    made.arg("-keyout").arg(&key).arg("-out").arg(&pem);
    let output = made.output().expect("openssl is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate signed by the root, with `extensions` or in version 1.
fn signed(folder: &Path, name: &str, extensions: Option<&str>) {
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").current_dir(folder).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (key, csr, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
    openssl(&[
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=127.0.0.1",
        "-config",
        "/dev/null",
        "-keyout",
        &key,
        "-out",
        &csr,
    ]);
    let mut args = vec![
        "x509",
        "-req",
        "-in",
        &csr,
        "-CA",
        "root.pem",
        "-CAkey",
        "root.key",
        "-set_serial",
        "7",
        "-days",
        "2",
        "-out",
        &pem,
    ];
    if let Some(extensions) = extensions {
        fs::write(file("ext"), extensions).unwrap();
        args.extend(["-extfile"]);
        let ext = format!("{name}.ext");
        openssl(&[&args[..], &[&ext]].concat());
    } else {
        openssl(&args);
    }
}

const CA: [&str; 4] =
    ["-subj", "/CN=a root of the tests", "-addext", "basicConstraints=critical,CA:TRUE"];

/// Certificates of each kind, and the path where PostgreSQL finds the current one.
fn certificates() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    certificate(folder.path(), "root", &CA);
    certificate(folder.path(), "other", &[&["-subj", "/CN=another root"], &CA[2..]].concat());
    signed(folder.path(), "good", Some("subjectAltName=IP:127.0.0.1"));
    signed(folder.path(), "elsewhere", Some("subjectAltName=DNS:elsewhere.example"));
    signed(folder.path(), "nameless", Some("basicConstraints=CA:FALSE"));
    signed(folder.path(), "version1", None);
    let itself = [&CA[..], &["-addext", "subjectAltName=IP:127.0.0.1"]].concat();
    certificate(folder.path(), "itself", &itself);
    put(folder.path(), "good")?;
    Ok(folder)
}

fn put(folder: &Path, name: &str) -> Result<()> {
    for end in ["pem", "key"] {
        let file = folder.join(format!("used.{end}"));
        fs::copy(folder.join(format!("{name}.{end}")), &file)?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        // PostgreSQL runs as its own user if the tests run as root.
        let _ = Command::new("chown")
            .arg("postgres")
            .arg(&file)
            .stderr(std::process::Stdio::null())
            .status();
    }
    Ok(())
}

/// What `check` says about the database.
async fn checked(config: &DaemonConfig) -> Result<String> {
    let output = run(config, &["check"]).await?;
    Ok(output.stdout + &output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_says_what_it_does_not_like() -> Result<()> {
    let certificates = certificates()?;
    let folder = certificates.path();
    let settings =
        ["ssl = on".to_owned(), format!("ssl_cert_file = '{}'", folder.join("used.pem").display())];
    let key = format!("ssl_key_file = '{}'", folder.join("used.key").display());
    let settings = settings.into_iter().chain([key]).collect();
    let postgres = PostgresConfig { settings, ..PostgresConfig::default() };
    let postgres = Arc::new(Postgres::start(postgres).await?);
    let lab = Lab::database_only_on(Arc::clone(&postgres)).await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    let url = |mode: &str, root: &str| {
        let root = folder.join(format!("{root}.pem"));
        let url = format!(
            "{}?sslmode={mode}&sslrootcert={}",
            lab.database.url_without_password(),
            root.display()
        );
        config.clone().set("database.url", url)
    };
    for (used, mode, root, expected) in [
        ("good", "verify-full", "root", "The database answers"),
        ("elsewhere", "verify-ca", "root", "The database answers"),
        (
            "elsewhere",
            "verify-full",
            "root",
            "TLS failed: the server's certificate is for another name.",
        ),
        (
            "nameless",
            "verify-full",
            "root",
            "TLS failed: the server's certificate has no subjectAltName.",
        ),
        (
            "version1",
            "verify-full",
            "root",
            "TLS failed: the server's certificate has version 1; version 3 is required.",
        ),
        (
            "itself",
            "verify-full",
            "itself",
            "TLS failed: the server's certificate is a CA certificate (CA:TRUE).",
        ),
        (
            "good",
            "verify-full",
            "other",
            "TLS failed: the server's certificate is signed by an unknown authority.",
        ),
    ] {
        put(folder, used)?;
        sqlx::query("SELECT pg_reload_conf()").execute(lab.database.superuser()).await?;
        // The postmaster reads them a moment later.
        let what = format!("{used}, {mode}: {expected}");
        let told = eventually(&what, PATIENCE, async || {
            let said = checked(&url(mode, root)).await?;
            Ok(said.contains(expected).then_some(said))
        });
        let said = told.await?;
        assert!(!said.contains("check the host and port"), "{said}");
    }
    let missing = run(&url("verify-full", "nowhere"), &["check"]).await?;
    let what = format!(
        "error: cannot read {}, named by database.url (",
        folder.join("nowhere.pem").display()
    );
    assert!(missing.code == Some(3) && missing.stderr.starts_with(&what), "{}", missing.stderr);

    let plain = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&plain.database)?;
    let url = format!("{}?sslmode=require", plain.database.url_without_password());
    let said = checked(&config.set("database.url", url)).await?;
    assert!(said.contains("TLS failed: the server does not offer it."), "{said}");
    Ok(())
}

/// A socket in both forms; an IPv6 address in brackets, if this machine has one.
#[tokio::test(flavor = "multi_thread")]
async fn each_form_of_an_address_connects() -> Result<()> {
    let settings = vec!["listen_addresses = '127.0.0.1, ::1'".to_owned()];
    let config = PostgresConfig { settings, ..PostgresConfig::default() };
    let postgres = Arc::new(Postgres::start(config).await?);
    let lab = Lab::database_only_on(Arc::clone(&postgres)).await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    let (port, name) = (postgres.address().port(), lab.database.name());
    let log = postgres.log();
    let socket = log.parent().unwrap_or(Path::new("/")).display().to_string();
    fs::set_permissions(&socket, Permissions::from_mode(0o755))?;
    let encoded = socket.replace('/', "%2F");
    let mut urls = vec![
        format!("postgres://ephemerd@{encoded}:{port}/{name}"),
        format!("postgres://ephemerd@/{name}?host={socket}&port={port}"),
        format!("postgresql:///{name}?host={encoded}&port={port}&user=ephemerd"),
        format!(
            "postgres://ephemerd@127.0.0.1:{port}/{name}?application_name=archives&options=-c%20work_mem%3D8MB"
        ),
    ];
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        urls.push(format!("postgres://ephemerd@[::1]:{port}/{name}"));
    }
    for url in urls {
        let said = checked(&config.clone().set("database.url", url.as_str())).await?;
        assert!(said.contains("The database answers"), "{url}: {said}");
    }
    let file = tempfile::NamedTempFile::new()?; // which nobody else may read
    fs::write(file.path(), format!("127.0.0.1:{port}:{name}:ephemerd:{}\n", postgres.password()))?;
    let path = file.path().display().to_string();
    let config = config.unset("database.password_file").env("PGPASSFILE", &path);
    let said = checked(&config).await?;
    assert!(said.contains("The database answers"), ".pgpass: {said}");
    fs::write(file.path(), "")?;
    let said = checked(&config).await?;
    assert!(said.contains("does not accept our role or password"), "an empty .pgpass: {said}");
    Ok(())
}

/// Of several hosts, the one that accepts writes is used, at the start and after a change.
#[tokio::test(flavor = "multi_thread")]
async fn several_hosts_are_tried_in_order() -> Result<()> {
    let primary = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::database_only_on(Arc::clone(&primary)).await?;
    let standby = primary.standby().await?;
    let gate = Gate::to(primary.address()).await?;
    let name = lab.database.name();
    let url = format!(
        "postgres://ephemerd@127.0.0.1:1,{},{}/{name}?target_session_attrs=read-write",
        standby.address(),
        gate.address()
    );
    let config = DaemonConfig::for_database(&lab.database)?.set("database.url", url);
    assert!(checked(&config).await?.contains("The database accepts writes."));
    let daemon = start(&config).await?;
    archive_marked(lab.database.superuser(), "before", 10).await?;
    gone(lab.database.superuser(), "<body>before", PATIENCE).await?;

    archive_marked(lab.database.superuser(), "after", 10).await?;
    let copied = sqlx::PgPool::connect(&standby.superuser_url(name)).await?;
    eventually("the standby has the rows", PATIENCE, async || {
        let all = "SELECT count(*) FROM prosodyarchive WHERE key LIKE 'after-%'";
        let count: i64 = sqlx::query_scalar(all).fetch_one(&copied).await?;
        Ok((count == 10).then_some(()))
    })
    .await?;
    primary.stop().await?;
    standby.promote().await?;
    archive_marked(&copied, "promoted", 10).await?;
    gone(&copied, "<body>promoted", PATIENCE * 2).await?;
    gone(&copied, "<body>after", PATIENCE).await?;
    daemon.wait_ready(PATIENCE).await?;
    eventually("the log says that it is over", PATIENCE, async || {
        Ok(daemon.log()?.contains("asking who leads works again").then_some(()))
    })
    .await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_nowhere_is_reported_as_that() -> Result<()> {
    let config = DaemonConfig::empty()
        .set("component.jid", "ephemerd.localhost")
        .set("component.server", "nowhere.invalid:5347")
        .set_file("component.secret_file", "nobody asks")
        .set("archive.kind", "prosody")
        .set("archive.hosts", vec!["localhost"])
        .set("database.url", "postgres://e@nowhere.invalid/p");
    let said = checked(&config).await?;
    assert!(
        said.contains("The database cannot be used: connect: cannot resolve the name."),
        "{said}"
    );
    assert!(said.contains("the XMPP server cannot be reached: cannot resolve the name"), "{said}");
    assert!(!said.contains("uncategorized"), "{said}");
    Ok(())
}

/// Environment variables that have no effect.
#[tokio::test(flavor = "multi_thread")]
async fn what_sets_nothing_is_reported() -> Result<()> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?
        .env("EPHEMERD_ARCHIVE_POLL", "5s")
        .env("EPHEMERD_PORT", "tcp://of.a.cluster")
        .env("PGSERVICE", "archives");
    let what = "The variable EPHEMERD_ARCHIVE_POLL has no effect.";
    let help = "write EPHEMERD__ARCHIVE__POLL, with two underscores, if you mean archive.poll";
    for args in [&["config"][..], &["config", "--json"], &["check"]] {
        let output = run(&config, args).await?;
        let said = output.stdout + &output.stderr;
        assert!(said.contains(what) && said.contains(help), "{args:?}: {said}");
        assert!(said.contains("The variable PGSERVICE is ignored."), "{args:?}: {said}");
        assert!(!said.contains("EPHEMERD_PORT"), "{said}");
    }
    let mode = run(&config.clone().env("PGSSLMODE", "verify_full"), &["config"]).await?;
    let start = "error: PGSSLMODE is not a TLS mode (PGSSLMODE)\nhelp: write disable, ";
    assert!(mode.code == Some(3) && mode.stderr.starts_with(start), "{}", mode.stderr);
    let url = format!("{}?sslmode=disable", lab.database.url_without_password());
    let mode = config.env("PGSSLMODE", "verify_full").set("database.url", url);
    assert_eq!(run(&mode, &["config"]).await?.code, Some(0), "the URL wins");
    Ok(())
}

/// When trouble at the start is over, the log says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_is_reported() -> Result<()> {
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::database_only_on(Arc::clone(&postgres)).await?;
    postgres.stop().await?;
    let daemon = Daemon::spawn(program(), &DaemonConfig::for_database(&lab.database)?)?;
    let said = async |text: &str| {
        eventually(text, PATIENCE, async || Ok(daemon.log()?.contains(text).then_some(()))).await
    };
    said("the database is not ready yet").await?;
    postgres.resume().await?;
    said("the database is ready").await?;
    assert_eq!(
        daemon.log()?.matches("INFO ephemerd::app::daemon: the database is ready").count(),
        1
    );
    Ok(())
}

/// A fatal error is reported once, as a log line if programs read the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_error_is_reported_once() -> Result<()> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    start(&config).await?.terminate().await?;
    let newer = "UPDATE ephemerd._sqlx_migrations SET version = 9999
                  WHERE version = (SELECT max(version) FROM ephemerd._sqlx_migrations)";
    sqlx::query(newer).execute(lab.database.superuser()).await?;
    for format in ["human", "json"] {
        let config = config.clone().set("log.format", format);
        let output = run(&config, &["run"]).await?;
        assert_eq!(output.code, Some(3), "{}", output.stderr);
        let count = output.stderr.matches("schema ephemerd is newer than this program").count();
        assert_eq!(count, 1, "{format}: {}", output.stderr);
        let all_json = output.stderr.lines().all(|line| line.starts_with('{'));
        assert_eq!(all_json, format == "json", "{}", output.stderr);
    }
    Ok(())
}

/// A socket in the abstract namespace, which some service managers use.
#[tokio::test(flavor = "multi_thread")]
async fn an_abstract_socket_is_notified() -> Result<()> {
    use std::os::linux::net::SocketAddrExt as _;

    let lab = Lab::database_only().await?;
    let name = format!("ephemerd-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name)?;
    let socket = std::os::unix::net::UnixDatagram::bind_addr(&address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let config =
        DaemonConfig::for_database(&lab.database)?.env("NOTIFY_SOCKET", &format!("@{name}"));
    let daemon = start(&config).await?;
    let mut bytes = [0; 64];
    let length = socket.recv(&mut bytes)?;
    assert_eq!(&bytes[..length], b"READY=1\n");
    assert!(daemon.terminate().await?.success());
    assert!(!daemon.log()?.contains("cannot notify systemd"));
    Ok(())
}
