//! What compose and the engine make of the files, service by service.

use serde_json::Value;

use crate::clone::Clone;
use crate::engine::{Engine, OUTSIDE, run};

/// The daemon, and everything bound to 127.0.0.1, is unreachable from outside; unpublished ports are
/// unreachable from anywhere.
pub(crate) fn only_these_ports_are_open(engine: &Engine) {
    let open = |host: &str, port: u16| {
        let connect = format!("exec 3<>/dev/tcp/{host}/{port}");
        run(engine.inside("timeout").args(["5", "bash", "-c", &connect])).success
    };
    for port in [5222, 5269] {
        assert!(open(OUTSIDE, port), "{port}");
    }
    for port in [10466, 9090, 3000] {
        assert!(open("127.0.0.1", port) && !open(OUTSIDE, port), "{port}");
    }
    for port in [5347, 5432, 5280] {
        assert!(!open("127.0.0.1", port) && !open(OUTSIDE, port), "{port}");
    }
}

/// Each container restarts by itself, limits its log, and has no rights that it does not need.
pub(crate) fn every_service_is_held_down(engine: &Engine, clone: &Clone) {
    let ids = clone.works("docker compose ps -q");
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 7, "{ids:?}");
    for id in ids {
        let told: Value = serde_json::from_str(&engine.docker(&["inspect", id]).text).unwrap();
        let (name, host) = (&told[0]["Name"], &told[0]["HostConfig"]);
        let once = ["roles", "grants"].iter().any(|it| name.as_str().unwrap().contains(it));
        let restart = if once { "no" } else { "unless-stopped" };
        assert_eq!(host["RestartPolicy"]["Name"], restart, "{name}");
        assert_eq!(host["LogConfig"]["Config"]["max-size"], "10m", "{name}");
        assert_eq!(host["CapDrop"][0], "ALL", "{name}");
        assert_eq!(host["SecurityOpt"][0], "no-new-privileges:true", "{name}");
        // We could not try where Grafana writes.
        let grafana = name.as_str().unwrap().contains("grafana");
        assert_eq!(host["ReadonlyRootfs"], !grafana, "{name}");
        let user = told[0]["Config"]["User"].as_str().unwrap();
        assert!(!["", "root", "0"].contains(&user), "{name} runs as {user:?}");
    }
}

/// Without a domain nothing is created or changed, and the error says what is missing.
pub(crate) fn a_domain_is_asked_for(clone: &Clone) {
    for file in ["docker-compose.yml", "docker-compose.ejabberd.yml", "docker-compose.daemon.yml"] {
        let refused = clone.shell(&format!("docker compose -f {file} up -d"));
        assert!(!refused.success, "{file}");
        let says = "copy .env.example to .env and set it there";
        assert!(
            refused.text.contains(says) && refused.text.contains("XMPP_DOMAIN"),
            "{}",
            refused.text
        );
    }
}

/// What must never get into git or an image.
pub(crate) fn secrets_stay_out(clone: &Clone) {
    let ignored = ["/.env", "/deploy/secrets", "/deploy/compose/certs/*"];
    let git = std::fs::read_to_string(clone.path().join(".gitignore")).unwrap();
    assert!(ignored.iter().all(|it| git.lines().any(|line| line == *it)), "{git}");
    let docker = std::fs::read_to_string(clone.path().join(".dockerignore")).unwrap();
    let ignored = [".env", "deploy/secrets", "deploy/compose/certs"];
    assert!(ignored.iter().all(|it| docker.lines().any(|line| line == *it)), "{docker}");
}
