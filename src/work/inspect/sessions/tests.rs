use std::sync::Mutex;

use tokio::time::timeout;

use super::*;
use crate::archive::companion::{Answer, Request};

/// A module that never answers, and counts how often it was asked.
#[derive(Clone)]
struct Silent {
    asked: Arc<Mutex<usize>>,
    connection: watch::Receiver<Option<u64>>,
}

impl Requests for Silent {
    async fn ask(&self, _: &str, _: Request) -> std::result::Result<Answer, Unanswered> {
        *self.asked.lock().unwrap() += 1;
        std::future::pending().await
    }

    fn connection(&self) -> watch::Receiver<Option<u64>> {
        self.connection.clone()
    }
}

async fn until_asked(module: &Silent, times: usize) -> bool {
    let asked = async {
        while *module.asked.lock().unwrap() < times {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), asked).await.is_ok()
}

/// What a module is asked while the rules change was asked by the old ones: its answer must not count for the new.
#[tokio::test(start_paused = true)]
async fn new_rules_are_told_to_modules_that_have_not_answered_yet() {
    let (_connected, connection) = watch::channel(Some(1));
    let module = Silent { asked: Arc::default(), connection };
    let (rules, judging) = watch::channel(Rules::default());
    let (remembered, _) = mpsc::channel(1);
    let unheard = Unheard::new(&[], Arc::default());
    let outputs = Outputs { tail: Arc::default(), remembered, unheard };
    let pool = sqlx::postgres::PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(1))
        .connect_lazy("postgres://nobody@127.0.0.1:1/none")
        .unwrap();
    let (archive, hosts) = (Archive::Prosody, vec!["localhost".to_owned()]);
    let metrics = Arc::new(Metrics::new());
    let listener = Listener::new(pool, module.clone(), archive, judging, hosts, metrics, outputs);
    let (_notices, received) = mpsc::channel(1);
    let stop = CancellationToken::new();
    tokio::spawn(listener.run(received, stop.clone()));
    assert!(until_asked(&module, 1).await);
    rules.send_modify(|_| {});
    assert!(until_asked(&module, 2).await, "the first question was by the old rules");
    stop.cancel();
}
