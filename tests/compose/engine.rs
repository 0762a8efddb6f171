//! A private Docker engine: its processes, mounts and networks are in namespaces that end with one process,
//! and that one ends with the test, however the test ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

/// The machine's address as seen from outside, in the engine's network.
pub(crate) const OUTSIDE: &str = "10.0.2.100";

/// The first process of the namespaces: they live as long as it does.
const LEADER: &str =
    "ip link set lo up; echo 1 >/proc/sys/net/ipv4/ip_forward; exec sleep infinity";

/// Ended by SIGKILL on drop.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Acts as a machine: everything that runs on it ends with it, and its disk stays.
struct Machine {
    _network: Killed,
    _root: Killed,
    leader: String,
}

pub(crate) struct Engine {
    // Stopped before the folder is removed.
    machine: Option<Machine>,
    folder: TempDir,
}

/// What a command printed, and how it ended.
pub(crate) struct Printed {
    pub(crate) success: bool,
    pub(crate) text: String,
}

pub(crate) fn run(command: &mut Command) -> Printed {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    Printed { success: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
}

fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {within:?} in vain for {what}");
        sleep(Duration::from_millis(100));
    }
}

/// A program that is killed when this thread ends, for whatever reason.
fn bound_to_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).stdin(Stdio::null());
    command
}

impl Machine {
    fn boot(folder: &Path) -> Self {
        let mut unshare = bound_to_us("unshare");
        unshare.args(["--mount", "--propagation", "private", "--pid", "--net", "--ipc", "--fork"]);
        unshare.args(["--kill-child", "--mount-proc", "sh", "-c", LEADER]);
        let root = Killed(unshare.spawn().unwrap());
        let children = format!("/proc/{0}/task/{0}/children", root.0.id());
        let mut leader = String::new();
        until("the namespaces", Duration::from_secs(10), || {
            leader = fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
            let program = fs::read_to_string(format!("/proc/{leader}/comm")).unwrap_or_default();
            program == "sleep\n"
        });
        let log = fs::File::create(folder.join("network.log")).unwrap();
        let mut slirp = bound_to_us("slirp4netns");
        slirp
            .args(["--configure", "--mtu=65520", &leader, "tap0"])
            .stdout(log.try_clone().unwrap());
        let machine =
            Self { _network: Killed(slirp.stderr(log).spawn().unwrap()), _root: root, leader };
        until("the network", Duration::from_secs(10), || {
            run(machine.inside("ip").args(["-4", "addr", "show", "tap0"])).text.contains(OUTSIDE)
        });
        machine
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.leader, "-m", "-p", "-n", "-i", program]);
        command
    }
}

impl Engine {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ephemerd-engine.").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut engine = Self { machine: None, folder };
        engine.power_on();
        engine
    }

    /// Everything on the machine stops at once; then it boots, and the engine is started as a service manager
    /// would.
    pub(crate) fn power_cut(&mut self) {
        self.machine = None;
        self.power_on();
    }

    fn power_on(&mut self) {
        self.machine = Some(Machine::boot(self.folder.path()));
        self.dockerd();
    }

    fn dockerd(&self) {
        let at = |name: &str| self.path(name).display().to_string();
        let _ = fs::remove_file(self.path("docker.pid"));
        let log = fs::File::options().create(true).append(true).open(self.path("dockerd.log"));
        let log = log.unwrap();
        let mut dockerd = self.inside("dockerd");
        dockerd.args(["--data-root", &at("data"), "--exec-root", &at("exec")]);
        dockerd.args(["-H", &self.socket(), "--pidfile", &at("docker.pid")]);
        dockerd.args(["--cgroup-parent", &self.cgroup()]);
        let driver = fs::read_to_string("/proc/filesystems").unwrap();
        dockerd.args([
            "--storage-driver",
            if driver.contains("\toverlay\n") { "overlay2" } else { "vfs" },
        ]);
        // It is inside the namespaces and ends with the machine.
        #[expect(clippy::zombie_processes, reason = "the namespaces' first process reaps it")]
        dockerd.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        until("the engine", Duration::from_secs(60), || self.docker(&["version"]).success);
    }

    /// SIGTERM, as when the engine is upgraded, and a new start.
    pub(crate) fn restart(&self) {
        let pid = fs::read_to_string(self.path("docker.pid")).unwrap();
        assert!(run(self.inside("kill").arg(pid.trim())).success);
        until("the engine's end", Duration::from_secs(120), || !self.path("docker.pid").exists());
        self.dockerd();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cgroup(&self) -> String {
        format!("/{}", self.folder.path().file_name().unwrap().display())
    }

    pub(crate) fn socket(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// A program in the engine's namespaces.
    pub(crate) fn inside(&self, program: &str) -> Command {
        self.machine.as_ref().unwrap().inside(program)
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Printed {
        run(Command::new("/usr/bin/docker").args(args).env("DOCKER_HOST", self.socket()))
    }

    /// Kills a container's first process directly, without the engine, so that its restart policy applies.
    pub(crate) fn kill(&self, container: &str) {
        let pid = self.docker(&["inspect", "--format", "{{.State.Pid}}", container]).text;
        assert!(run(self.inside("kill").args(["-9", pid.trim()])).success, "{container}");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.docker(&["ps", "--all"]).text);
        }
        self.machine = None;
        // Control groups are in no namespace of ours. By now they are empty.
        let groups = format!("*{}*", self.cgroup());
        let find = ["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &groups];
        run(Command::new("find").args(find).args(["-exec", "rmdir", "{}", ";"]));
    }
}

/// Nothing is left of an engine even if its test panicked.
#[test]
fn an_engine_leaves_nothing_behind() {
    let mounts = || fs::read_to_string("/proc/self/mounts").unwrap().lines().count();
    let before = mounts();
    let mut folder = PathBuf::new();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let engine = Engine::start();
        engine.folder.path().clone_into(&mut folder);
        panic!("on purpose");
    }));
    assert!(ended.is_err() && !folder.as_os_str().is_empty());
    assert!(!folder.exists(), "{} stands", folder.display());
    assert_eq!(mounts(), before);
    let name = folder.file_name().unwrap().display().to_string();
    let processes = run(Command::new("ps").args(["-eo", "args"])).text;
    assert!(!processes.contains(&name), "{processes}");
    let groups = run(Command::new("find").args(["/sys/fs/cgroup", "-name", &name])).text;
    assert_eq!(groups, "");
}
