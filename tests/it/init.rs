//! `init` on databases without a server: what it finds, asks for, writes and refuses.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ephemerd_lab::ejabberd::{self, EjabberdConfig, Schema};
use ephemerd_lab::rows::{ArchiveRow, create_prosody_tables, insert};
use ephemerd_lab::{Database, Lab, Postgres, Result};
use tempfile::TempDir;
use tokio::process::Command;

use crate::operator::mode;
use crate::support::{marked, now, program};

/// A place for a configuration, and a database to look at.
struct Place {
    folder: TempDir,
    database: Database,
}

/// What a command printed, and its exit code.
struct Told {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new(database: &Database) -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, database: database.clone() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The URL of the role that the XMPP server uses.
    fn url(&self) -> String {
        let at = self.database.postgres().address();
        format!("postgres://prosody@{at}/{}", self.database.name())
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("PGPASSWORD", self.database.postgres().password())
            .env("EPHEMERD_CONFIG", self.path("ephemerd.toml"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    async fn told(&self, args: &[&str]) -> Result<Told> {
        told(self.command(program()).args(args)).await
    }

    /// `init` for this database, with these flags too, under this umask.
    async fn init(&self, umask: &str, flags: &[&str]) -> Result<Told> {
        let (script, program) = (format!("umask {umask}; exec \"$0\" \"$@\""), program());
        let url = self.url();
        let mut command = self.command("sh");
        command.args(["-c", &script]).arg(program).args(["init", "--database", &url]).args(flags);
        told(&mut command).await
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("the folder is there");
        let name = |it: std::io::Result<fs::DirEntry>| it.expect("an entry").file_name();
        let mut names: Vec<_> = entries.map(|it| name(it).display().to_string()).collect();
        names.sort();
        names
    }
}

async fn told(command: &mut Command) -> Result<Told> {
    let output = command.output().await?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    Ok(Told { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) })
}

const WRITTEN: [&str; 3] = ["component.secret", "database.password", "ephemerd.toml"];

/// Prosody's table with a message at each of these hosts.
async fn with_hosts(hosts: &[&str]) -> Result<Lab> {
    let lab = Lab::database_only().await?;
    let at = now(lab.database.superuser()).await?;
    let row = |host: &&str| {
        let row = ArchiveRow::archive("peter", "1", at, &marked("word", 60));
        ArchiveRow { host: (*host).to_owned(), ..row }
    };
    insert(lab.database.superuser(), &hosts.iter().map(row).collect::<Vec<_>>()).await?;
    Ok(lab)
}

/// Whatever is there already stays, nothing else is written, and the refusal says what is in the way.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_overwritten() -> Result<()> {
    let lab = with_hosts(&["example.org"]).await?;
    for name in WRITTEN {
        let place = Place::new(&lab.database)?;
        fs::write(place.path(name), "theirs")?;
        let told = place.init("022", &["--all-hosts"]).await?;
        let file = place.path(name);
        let start = format!("error: {} exists already", file.display());
        assert!(told.code == Some(3) && told.err.starts_with(&start), "{}", told.err);
        assert!(told.err.contains("\nhelp: move it away (mv "), "{}", told.err);
        assert_eq!((fs::read_to_string(&file)?.as_str(), told.out.as_str()), ("theirs", ""));
        assert_eq!(place.files(), [name]);
    }
    // A link that leads nowhere would let us write where it points.
    let place = Place::new(&lab.database)?;
    symlink(place.path("elsewhere"), place.path("database.password"))?;
    let told = place.init("022", &["--all-hosts"]).await?;
    assert_eq!(told.code, Some(3), "{}", told.err);
    assert_eq!(place.files(), ["database.password"]);
    // A second time, after success.
    let place = Place::new(&lab.database)?;
    assert_eq!(place.init("022", &["--all-hosts"]).await?.code, Some(0));
    let texts = || WRITTEN.map(|name| fs::read_to_string(place.path(name)).expect("it is there"));
    let before = texts();
    assert_eq!(place.init("022", &["--all-hosts"]).await?.code, Some(3));
    assert_eq!(texts(), before);
    Ok(())
}

/// The modes are those of docs/install-package.md whatever the umask is, and the configuration belongs to the
/// group of its directory, which is the daemon's. Secrets are printed where the block needs one, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn modes_and_secrets() -> Result<()> {
    let lab = with_hosts(&["example.org"]).await?;
    for umask in ["077", "022", "000"] {
        let place = Place::new(&lab.database)?;
        // Only root may do so; another user's folder has that user's group.
        let _ = chown(place.folder.path(), None, Some(4242));
        let told = place.init(umask, &["--all-hosts"]).await?;
        assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);
        assert_eq!(place.files(), WRITTEN);
        let modes = WRITTEN.map(|name| mode(&place.path(name)));
        assert_eq!(modes, [0o600, 0o600, 0o640], "umask {umask}");
        let group = |path: &Path| fs::metadata(path).map(|it| it.gid());
        assert_eq!(group(&place.path("ephemerd.toml"))?, group(place.folder.path())?);
        let [secret, password, config] =
            WRITTEN.map(|name| fs::read_to_string(place.path(name)).expect("it is written"));
        let (secret, password) = (secret.trim(), password.trim());
        assert!(secret.len() == 64 && password.len() == 64 && secret != password);
        assert_eq!(
            told.out.matches(secret).count(),
            1,
            "in the block, which says so: {}",
            told.out
        );
        assert!(told.out.contains("The block contains the component's secret"), "{}", told.out);
        let ours = lab.database.postgres().password();
        for text in [&told.out, &told.err, &config] {
            assert!(!text.contains(password) && !text.contains(ours), "{text}");
        }
        assert!(!config.contains(secret) && !told.err.contains(secret));
        assert!(!told.out.contains('\u{1b}'), "colours are for terminals");
    }
    Ok(())
}

/// Without a terminal nothing is asked: each flag that is needed is named, with what is known about it.
#[tokio::test(flavor = "multi_thread")]
async fn missing_flags_are_named() -> Result<()> {
    let lab = with_hosts(&["example.org", "conference.example.org"]).await?;
    let place = Place::new(&lab.database)?;
    let refused = async |flags: &[&str], expected: &str| -> Result<()> {
        let told = match flags {
            ["init", ..] => place.told(flags).await?,
            _ => place.init("022", flags).await?,
        };
        assert!(told.code == Some(2) && told.err.contains(expected), "{flags:?}: {}", told.err);
        assert!(place.files().is_empty(), "{:?}", place.files());
        Ok(())
    };
    refused(
        &["init"],
        "error: --database is missing, and there is no terminal to ask on\nhelp: name",
    )
    .await?;
    let rows = "error: --hosts is missing; the archives have rows of conference.example.org, example.org\nhelp: ";
    refused(&[], rows).await?;
    refused(&["--hosts", "Example.org"], "'--hosts <HOSTS>': it has a name with capital letters")
        .await?;
    refused(&["--hosts", "a", "--all-hosts"], "cannot be used with").await?;
    refused(&["--all-hosts", "--kind", "mongo"], "write prosody or ejabberd").await?;
    refused(&["--all-hosts", "--kind", "ejabberd"], "sees no archive of ejabberd\nhelp: ").await?;
    // A URL may have a password in it, and is not repeated.
    let wrong = ["init", "--database", "postgres://p:s3cret@127.0.0.1/x'y", "--all-hosts"];
    refused(&wrong, "error: --database has a database or a host with unusual characters\nhelp: ")
        .await?;
    assert!(!place.told(&wrong).await?.err.contains("s3cret"));

    ejabberd::create_tables(&EjabberdConfig::default(), &lab.database).await?;
    refused(&["--all-hosts"], "error: --kind is missing: the database has archives of Prosody and")
        .await?;
    let empty = ["--all-hosts", "--kind", "ejabberd"];
    refused(
        &empty,
        "error: --hosts is missing, and the archives do not show the virtual host\nhelp: ",
    )
    .await?;
    let told = place.init("022", &["--all-hosts", "--kind", "prosody"]).await?;
    assert_eq!(told.code, Some(0), "{}", told.err);
    Ok(())
}

/// What an operator may paste is pasted: a path with a space, a listener that others reach, the hosts that were left
/// out, and where to take grants.sql from.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_can_be_used() -> Result<()> {
    let lab = with_hosts(&["example.org", "b.example"]).await?;
    let place = Place::new(&lab.database)?;
    fs::create_dir(place.path("of work"))?;
    let file = place.path("of work/ephemerd.toml");
    let file = file.to_str().expect("it is UTF-8");
    let flags = ["--config", file, "--hosts", "example.org", "--server", "192.0.2.1:5348"];
    let told = place.init("022", &flags).await?;
    assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);
    let left = "\nNot listed, so that nothing of them is ever erased: b.example.\n";
    assert!(told.out.contains(left), "{}", told.out);
    let listens = "-- The server listens there if it has, above all hosts: component_interfaces = { \"192.0.2.1\" }\n";
    assert!(told.out.contains(listens), "{}", told.out);
    let line = format!("\nephemerd --config '{file}' migrate ");
    assert!(told.out.contains(&line), "{}", told.out);
    let is_packaged = Path::new("/usr/share/ephemerd/grants.sql").exists();
    assert_eq!(told.out.contains("grants.sql is not on this machine yet"), !is_packaged);
    let again = place.init("022", &flags).await?;
    assert!(again.err.contains(&format!("(mv '{file}' '{file}'.old)")), "{}", again.err);

    fs::create_dir(place.path("deploy"))?;
    fs::write(place.path("deploy/grants.sql"), "")?;
    let told = place.init("022", &["--all-hosts"]).await?;
    assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);
    for absent in ["is not on this machine", "Not listed", "component_interfaces"] {
        assert!(!told.out.contains(absent), "{absent}: {}", told.out);
    }
    Ok(())
}

/// A configuration needs a file's name, and a component an address that is no host's.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused() -> Result<()> {
    let lab = with_hosts(&["example.org"]).await?;
    let place = Place::new(&lab.database)?;
    let folder = place.folder.path().to_str().expect("it is UTF-8");
    let told = place.init("022", &["--all-hosts", "--config", folder]).await?;
    let refusal = format!(
        "error: {folder} is a directory\nhelp: name a file in it: --config {folder}/ephemerd.toml\n"
    );
    assert!(told.code == Some(3) && told.err.starts_with(&refusal), "{}", told.err);
    let told = place.init("022", &["--all-hosts", "--jid", "example.org"]).await?;
    let refusal = "error: --jid is one of the hosts\n\
                   help: write an address of its own, such as --jid ephemerd.example.org\n";
    assert!(told.code == Some(2) && told.err.starts_with(refusal), "{}", told.err);
    assert!(place.files().is_empty(), "{:?}", place.files());
    Ok(())
}

/// A database that cannot be used, and how the message says so.
#[tokio::test(flavor = "multi_thread")]
async fn databases_that_show_nothing() -> Result<()> {
    let database = Database::create(Postgres::shared().await?).await?;
    let place = Place::new(&database)?;
    let told = place.init("022", &["--all-hosts"]).await?;
    let start = "error: --database names a database in which this role sees no archive of Prosody or ejabberd\nhelp: ";
    assert!(told.code == Some(2) && told.err.starts_with(start), "{}", told.err);

    create_prosody_tables(&database).await?;
    sqlx::raw_sql("ALTER TABLE prosodyarchive OWNER TO postgres")
        .execute(database.superuser())
        .await?;
    let told = place.init("022", &["--all-hosts"]).await?;
    let unread = "error: --database: prosody_unlisted_hosts: SQLSTATE 42501";
    assert!(told.code == Some(1) && told.err.starts_with(unread), "{}", told.err);
    assert!(
        told.err.contains("\nhelp: use a role that may read the server's tables"),
        "{}",
        told.err
    );

    let at = database.postgres().address();
    let url = format!("postgres://prosody:wr0ng@{at}/{}", database.name());
    let told = place.told(&["init", "--database", &url, "--all-hosts"]).await?;
    let start = "error: --database: connect: SQLSTATE 28P01";
    assert!(told.code == Some(1) && told.err.starts_with(start), "{}", told.err);
    assert!(told.err.contains("PGPASSWORD") && !told.err.contains("wr0ng"), "{}", told.err);
    assert!(place.files().is_empty());

    let told = place.told(&["--config", "/nowhere/x.toml", "init"]).await?;
    let start = "error: the directory /nowhere does not exist\nhelp: install -d -m 750 -g ephemerd /nowhere\n";
    assert!(told.code == Some(3) && told.err.starts_with(start), "{}", told.err);
    Ok(())
}

/// The value in force in the configuration that was written; those of a list with commas.
async fn in_force(place: &Place, key: &str) -> Result<String> {
    let told = place.told(&["config", "--json"]).await?;
    assert_eq!(told.code, Some(0), "{}", told.err);
    let config: serde_json::Value = serde_json::from_str(&told.out).expect("JSON");
    let (section, name) = key.split_once('.').expect("section.key");
    let value = &config[section][name]["value"];
    let texts: Vec<_> = value.as_array().unwrap_or(&vec![value.clone()]).clone();
    Ok(texts.iter().filter_map(|it| it.as_str()).collect::<Vec<_>>().join(", "))
}

/// Two virtual hosts and a rooms' host, in each server's tables; an account that somebody elsewhere shares the
/// name of hides no host. Hosts that are named are written, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn two_hosts() -> Result<()> {
    let lab = with_hosts(&["example.org", "b.example", "conference.example.org"]).await?;
    let all = "b.example, conference.example.org, example.org";
    let place = Place::new(&lab.database)?;
    let told = place.init("022", &["--all-hosts"]).await?;
    let found =
        "Hosts in them: b.example (1 row), conference.example.org (1 row), example.org (1 row).\n";
    assert!(told.out.contains(found), "{}", told.out);
    assert_eq!(in_force(&place, "archive.hosts").await?, all);
    assert_eq!(in_force(&place, "component.jid").await?, "ephemerd.b.example");
    assert!(told.out.contains("\nComponent \"ephemerd.b.example\"\n"), "{}", told.out);

    // The lab's other databases use the role too: another password would lock their daemons out.
    assert!(
        told.out.contains("That role exists already: if something else uses it"),
        "{}",
        told.out
    );

    let place = Place::new(&lab.database)?;
    let flags = ["--hosts", "example.org,conference.example.org", "--jid", "e.example.org"];
    assert_eq!(place.init("022", &flags).await?.code, Some(0));
    assert_eq!(in_force(&place, "archive.hosts").await?, "conference.example.org, example.org");
    assert_eq!(in_force(&place, "component.jid").await?, "e.example.org");

    for schema in [Schema::Classic, Schema::MultiHost] {
        let config = EjabberdConfig::default().schema(schema);
        let lab = Lab::ejabberd_tables(&config).await?;
        let xml = |from: &str| {
            format!("<message from='{from}' to='peter@localhost/x'><body>w</body></message>")
        };
        let user = |at, from| ejabberd::rows::ArchiveRow::user("peter", at, &xml(from));
        let other =
            ejabberd::rows::ArchiveRow { server_host: "b.example".into(), ..user(4, "a@b") };
        let den = ejabberd::rows::ArchiveRow::room("den", 5, &xml("den@conference.localhost/x"));
        let two = [2, 3].map(|at| user(at, "peter@z.example"));
        let mut rows = [vec![user(1, "rosa@localhost"), den], two.to_vec()].concat();
        rows.extend((schema == Schema::MultiHost).then_some(other));
        ejabberd::rows::insert(&lab.database, schema, &rows).await?;
        let place = Place::new(&lab.database)?;
        let told = place.init("022", &["--all-hosts", "--server", "[::1]:5348"]).await?;
        assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);
        let (hosts, jid) = match schema {
            Schema::Classic => ("conference.localhost, localhost", "ephemerd.localhost"),
            Schema::MultiHost => {
                ("b.example, conference.localhost, localhost", "ephemerd.b.example")
            }
        };
        assert_eq!(in_force(&place, "archive.hosts").await?, hosts);
        assert_eq!(in_force(&place, "archive.kind").await?, "ejabberd");
        let listener = format!(
            "\n  - port: 5348\n    ip: \"::1\"\n    module: ejabberd_service\n    hosts:\n      \"{jid}\":\n"
        );
        assert!(told.out.contains(&listener), "{}", told.out);
    }
    Ok(())
}

/// Whoever interrupts the question for a password finds the terminal as it was, and no file.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_question_leaves_the_terminal_as_it_was() -> Result<()> {
    let lab = with_hosts(&["example.org"]).await?;
    let place = Place::new(&lab.database)?;
    let keys = format!(
        "mkfifo keys
         timeout 300 script --quiet --flush --return --command \"sh -c '$PROGRAM init; stty -a >terminal'\" seen <keys >/dev/null &
         exec 3>keys
         seen() {{
             for wait in $(seq 600); do grep --quiet --text \"$1\" seen 2>/dev/null && break; sleep 0.1; done
         }}
         seen 'may read its archives'; printf '%s\\n' '{url}' >&3
         seen 'password; empty if .*: '; printf '\\003' >&3
         for wait in $(seq 600); do [ -s terminal ] && break; sleep 0.1; done
         exec 3>&-
         wait $!; rm keys",
        url = place.url(),
    );
    let mut bash = place.command("bash");
    bash.args(["-uc", &keys]).env("PROGRAM", program()).env_remove("PGPASSWORD");
    told(&mut bash).await?;
    let seen = fs::read_to_string(place.path("seen"))?;
    assert!(seen.contains("interrupted; nothing was written"), "{seen}");
    let terminal = fs::read_to_string(place.path("terminal"))?;
    let settings: Vec<&str> = terminal.split_whitespace().collect();
    assert!(settings.contains(&"echo") && settings.contains(&"isig"), "{terminal}");
    Ok(())
}

/// On a terminal each question has its default, an answer that cannot be used is asked for again, and a password
/// is not shown.
#[tokio::test(flavor = "multi_thread")]
async fn questions_on_a_terminal() -> Result<()> {
    let lab = with_hosts(&["example.org", "conference.example.org"]).await?;
    let place = Place::new(&lab.database)?;
    let answers = format!(
        "mkfifo keys
         timeout 300 script --quiet --flush --return --command \"$PROGRAM init\" seen <keys >/dev/null &
         exec 3>keys
         answer() {{
             for wait in $(seq 600); do grep --quiet --text \"$1\" seen 2>/dev/null && break; sleep 0.1; done
             printf '%s\\n' \"$2\" >&3
         }}
         answer 'may read its archives .postgres://prosody@127.0.0.1/prosody.: ' 'postgres:/x'
         answer 'This cannot be used: it is not a PostgreSQL URL' '{url}'
         answer 'password; empty if .*: ' '{password}'
         answer 'including rooms. hosts .conference.example.org, example.org.: ' ''
         answer 'own address on the server .ephemerd.example.org.: ' 'e.example.org'
         answer 'listens for components .127.0.0.1:5347.: ' '127.0.0.1:1'
         exec 3>&-
         wait $!; echo \"$?\" >code; rm keys",
        url = place.url(),
        password = lab.database.postgres().password(),
    );
    let mut bash = place.command("bash");
    bash.args(["-uc", &answers]).env("PROGRAM", program()).env_remove("PGPASSWORD");
    told(&mut bash).await?;
    let seen = fs::read_to_string(place.path("seen"))?;
    assert_eq!(fs::read_to_string(place.path("code"))?, "0\n", "{seen}");
    assert!(!seen.contains(lab.database.postgres().password()), "{seen}");
    assert!(seen.contains("3. `ephemerd check` says now"), "{seen}");
    assert_eq!(in_force(&place, "archive.hosts").await?, "conference.example.org, example.org");
    assert_eq!(in_force(&place, "component.jid").await?, "e.example.org");
    assert_eq!(in_force(&place, "component.server").await?, "127.0.0.1:1");
    Ok(())
}
