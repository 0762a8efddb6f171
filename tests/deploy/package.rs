//! The Debian package in a bare Debian: installed, run, upgraded, removed, purged. As root, after `./dev package`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ephemerd_lab::{Lab, PATIENCE, Result, eventually, free_address, http};
use tempfile::TempDir;

use crate::rules::repository;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
    stdout + &stderr
}

/// A bare Debian in its own folder.
struct Debian {
    folder: TempDir,
}

impl Debian {
    /// A copy of one that is created once and kept below `target`.
    fn new() -> Self {
        let base = repository("target/deploy/bookworm");
        if !base.join("complete").exists() {
            let include = "--include=systemd,procps";
            run(Command::new("debootstrap")
                .args(["--variant=minbase", include, "bookworm"])
                .arg(&base));
            fs::write(base.join("complete"), "").unwrap();
        }
        let folder = TempDir::new().unwrap();
        run(Command::new("cp").arg("-a").arg(base.join(".")).arg(folder.path()));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Runs a line in its shell, which sees `/proc` in a mount namespace that ends with it.
    fn shell(&self, line: &str) -> String {
        let enter = "mount --bind /proc \"$0/proc\" && exec chroot \"$0\" sh -c \"$1\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", enter]).arg(self.folder.path()).arg(line);
        run(command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive"))
    }

    fn install(&self, package: &Path) -> String {
        fs::copy(package, self.path("tmp/package.deb")).unwrap();
        self.shell("dpkg -i /tmp/package.deb")
    }

    /// Files of ours that still exist.
    fn leftovers(&self) -> String {
        self.shell(
            "find / -xdev -name '*ephemerd*' -not -path '/proc/*'; getent passwd ephemerd || true",
        )
    }
}

/// The newest that `./dev package` made.
fn package() -> PathBuf {
    let files = fs::read_dir(repository("target/debian")).expect("run ./dev package before");
    let files = files.map(|it| it.unwrap().path());
    let packages = files.filter(|it| it.extension().is_some_and(|it| it == "deb"));
    packages
        .max_by_key(|it| it.metadata().unwrap().modified().unwrap())
        .expect("run ./dev package before")
}

/// The same package with a later version.
fn later(package: &Path, folder: &Path) -> PathBuf {
    let (tree, file) = (folder.join("tree"), folder.join("later.deb"));
    run(Command::new("dpkg-deb").arg("-R").arg(package).arg(&tree));
    let control = fs::read_to_string(tree.join("DEBIAN/control")).unwrap();
    let version = control.lines().find(|it| it.starts_with("Version: ")).unwrap();
    let changed = control.replace(version, &format!("{version}.1"));
    fs::write(tree.join("DEBIAN/control"), changed).unwrap();
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(&tree).arg(&file));
    file
}

/// A child process that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs what the unit runs, with its user and environment, against a private PostgreSQL, until `/readyz` says
/// so; then SIGTERM.
async fn serve(debian: &Debian, lab: &Lab) -> Result<()> {
    let listen = free_address()?;
    let config = format!(
        "[component]\njid = \"ephemerd.example.org\"\nserver = \"{}\"\n\
         secret_file = \"/etc/ephemerd/component.secret\"\n[database]\nurl = \"{}\"\n\
         [archive]\nkind = \"prosody\"\nhosts = [\"localhost\"]\n[http]\nlisten = \"{listen}\"\n",
        free_address()?,
        lab.database.url_without_password(),
    );
    fs::write(debian.path("etc/ephemerd/ephemerd.toml"), config)?;
    // As systemd provides them with LoadCredential.
    let credentials = "/run/credentials/ephemerd.service";
    let folder = debian.path(&credentials[1..]);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("component.secret"), "secret\n")?;
    fs::write(folder.join("database.password"), lab.database.postgres().password())?;
    debian
        .shell(&format!("chown -R ephemerd:ephemerd {credentials} && chmod -R go= {credentials}"));
    let mut command = Command::new("/usr/sbin/chroot");
    command
        .arg("--userspec=ephemerd:ephemerd")
        .arg(debian.folder.path())
        .args(["/usr/bin/ephemerd", "run"]);
    command.env_clear().stderr(Stdio::inherit());
    command.env("EPHEMERD__COMPONENT__SECRET_FILE", format!("{credentials}/component.secret"));
    command.env("EPHEMERD__DATABASE__PASSWORD_FILE", format!("{credentials}/database.password"));
    let mut running = Running(command.spawn()?);
    eventually("/readyz to say 200", PATIENCE, async || {
        assert_eq!(running.0.try_wait()?, None, "it ended");
        Ok(http::get(listen, "/readyz").await.ok().filter(|it| it.status == 200).map(drop))
    })
    .await?;
    run(Command::new("kill").arg(running.0.id().to_string()));
    assert!(running.0.wait()?.success());
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// The paths in the installed documents exist.
fn links_lead_somewhere(debian: &Debian) {
    let below = "/usr/share/doc/ephemerd";
    let mut links = 0;
    for page in debian.shell(&format!("find {below} -name '*.md'")).lines() {
        let text = fs::read_to_string(debian.path(&page[1..])).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let paths = targets.filter(|it| !it.contains("://")).map(|it| it.split('#').next());
        for path in paths.flatten().filter(|path| !path.is_empty()) {
            debian.shell(&format!(
                "cd $(dirname {page}) && test -e '{path}' || ! echo {page}: {path}"
            ));
            links += 1;
        }
    }
    assert!(links > 40, "links were read: {links}");
    debian.shell(&format!("cd {below} && test -s docs/runbook.md && test -s deploy/grants.sql"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_package_comes_runs_and_goes() -> Result<()> {
    let (package, debian) = (package(), Debian::new());
    debian.install(&package);
    let modes = debian.shell("stat -c '%a %U %G' /etc/ephemerd /etc/ephemerd/ephemerd.toml");
    assert_eq!(modes, "750 root ephemerd\n640 root ephemerd\n");
    let faults =
        debian.shell("systemd-analyze verify --man=no ephemerd.service ephemerd@a.service");
    assert_eq!(faults, "");
    for unit in ["ephemerd.service", "ephemerd@a.service"] {
        let exposure =
            debian.shell(&format!("systemd-analyze security --offline=true {unit} | tail -1"));
        assert!(exposure.contains("1.1 OK"), "docs/install-package.md says 1.1: {exposure}");
    }
    debian.shell(
        "ephemerd --version && zcat /usr/share/man/man1/ephemerd-run.1.gz | grep -q SIGTERM",
    );
    debian.shell("bash -n /usr/share/bash-completion/completions/ephemerd");
    links_lead_somewhere(&debian);

    let lab = Lab::database_only().await?;
    serve(&debian, &lab).await?;

    let mine = fs::read(debian.path("etc/ephemerd/ephemerd.toml"))?;
    debian.shell("systemctl --quiet enable ephemerd.service");
    let folder = TempDir::new()?;
    debian.install(&later(&package, folder.path()));
    assert_eq!(fs::read(debian.path("etc/ephemerd/ephemerd.toml"))?, mine, "an upgrade keeps it");
    serve(&debian, &lab).await?;

    let enabled = debian.path("etc/systemd/system/multi-user.target.wants/ephemerd.service");
    assert!(enabled.is_symlink(), "an upgrade leaves it enabled");
    debian.shell("dpkg -r ephemerd");
    assert!(!enabled.is_symlink() && debian.path("etc/ephemerd/ephemerd.toml").exists());
    debian.shell("dpkg -P ephemerd");
    assert_eq!(debian.leftovers(), "", "a purge leaves nothing");
    Ok(())
}
