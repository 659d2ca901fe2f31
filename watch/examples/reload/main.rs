//! The experiment of the exercise `reload`: a value changes when the program does not look.
//!
//! Repair `yours.rs`, not this file.

mod mistake;
mod solution;
mod wrong_list;
mod wrong_now;
mod wrong_revision;
mod wrong_silence;
mod yours;

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::Client;
use etcd_server::Server;
use exercise::{
    Exercise, Scene, Verdict, blocking, broken, check_running, connect_by_wire_to, connect_to, held,
};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

// Every answer has this function. A call names the answer first: `follow(answer, client, ..)`.
exercise::answers! {
    const ANSWERS = [
        yours, solution, mistake, wrong_list, wrong_now, wrong_revision, wrong_silence,
    ];
    async fn follow(client: &mut Client, key: &str, apply: impl FnMut(&str)) -> Result<()>;
}

const EXERCISE: Exercise = Exercise {
    name: "reload",
    answers: ANSWERS,
    hint: "Every response of etcd has a header with the revision of the store at that moment, and a \
           watch can begin at a revision. Which is the first one that your get has not seen? Which \
           one, when the stream has ended? And which, when the watch says that it is canceled()?",
};

const KEY: &str = "config";

/// How long a newer value may wait. An event from the past takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(3);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exercise::run(EXERCISE, experiment).await
}

async fn experiment(scene: Scene) -> Result<Verdict> {
    let mut server = blocking(Server::start).await?;
    let mut store = Store { client: connect_to(server.address()).await?, version: 0 };
    store.change().await?;

    let (mut client, mut wire) = connect_by_wire_to(server.address()).await?;
    let (applied, values) = watch::channel(Vec::new());
    let apply = move |value: &str| applied.send_modify(|values| values.push(value.to_owned()));
    let task = spawn_local(async move { follow(scene.answer, &mut client, KEY, apply).await });
    let mut follower = Follower { task, values };

    // The response is on its way while the value changes.
    let response = wire.response(1).await;
    ensure!(response.is_some(), "follow has asked etcd for nothing, so nothing was tried");
    store.change().await?;
    writeln!(stdout(), "v2 is put when etcd has responded to the first request")?;
    drop(response);
    wire.open();
    let gap = "what happens between your get and the beginning of your watch";
    follower.check(&store, gap).await?;
    store.change().await?;
    writeln!(stdout(), "v3 is put while nothing else happens")?;
    follower.check(&store, "what your code does with an event").await?;

    // First a restart alone. Then the history is compacted as well, and the value changes
    // right after the program's first or second request.
    for nth in [0, 1, 2] {
        wire.pause();
        server = blocking(move || server.restart().map(|()| server)).await?;
        // The first request of the old client could use the connection that is gone.
        store.client = connect_to(server.address()).await?;
        store.change().await?;
        writeln!(
            stdout(),
            "the server is restarted, and {} is put before you are back",
            store.newest()
        )?;
        let mut look = "what happens between the end of your stream and your next watch";
        if nth > 0 {
            store.compact().await?;
            writeln!(stdout(), "the history up to {} is compacted", store.newest())?;
            // The program may send fewer requests.
            let response = timeout(REQUEST_TIMEOUT, wire.response(nth)).await.ok().flatten();
            if response.is_some() {
                store.change().await?;
                writeln!(
                    stdout(),
                    "{} is put when etcd has responded to your request {nth}",
                    store.newest()
                )?;
            }
            look = "what etcd tells you on a stream, apart from events, and what you do then";
        }
        wire.open();
        follower.check(&store, look).await?;
    }
    held(format!("{} changes, and the newest was applied each time", store.version))
}

/// The value in etcd: v1, v2 and so on.
struct Store {
    client: Client,
    version: usize,
}

impl Store {
    fn newest(&self) -> String {
        format!("v{}", self.version)
    }

    async fn change(&mut self) -> Result<()> {
        self.version += 1;
        let value = self.newest();
        within(REQUEST_TIMEOUT, self.client.put(KEY, value, None)).await.context("put failed")?;
        Ok(())
    }

    /// Compacts the history before the newest value.
    async fn compact(&mut self) -> Result<()> {
        self.change().await?; // not the first one since the program has left
        let found =
            within(REQUEST_TIMEOUT, self.client.get(KEY, None)).await.context("get failed")?;
        let newest = found.kvs().first().context("the value is gone")?.mod_revision();
        within(REQUEST_TIMEOUT, self.client.compact(newest, None))
            .await
            .context("compact failed")?;
        Ok(())
    }
}

/// The answer that is tried, and what it has applied.
struct Follower {
    task: JoinHandle<Result<()>>,
    values: watch::Receiver<Vec<String>>,
}

impl Follower {
    /// Waits until the newest value is applied. Returns *broken* if it is not, or if an older one
    /// was applied after a newer one.
    async fn check(&mut self, store: &Store, look: &'static str) -> Result<()> {
        let newest = store.newest();
        let arrives = self.values.wait_for(|values| values.last() == Some(&newest));
        let arrived = timeout(PATIENCE, arrives).await.is_ok_and(|found| found.is_ok());
        let values = self.values.borrow().clone();
        let number = |value: &String| value[1..].parse::<usize>().unwrap_or(0);
        let back = values.windows(2).find(|pair| number(&pair[0]) > number(&pair[1]));
        if let Some([newer, older]) = back {
            let what = format!("after {newer}, the older {older} was applied");
            return broken(what, "the revision from which your code goes on");
        }
        check_running(&mut self.task, "it has come to an end", "what ends your loops").await?;
        if !arrived {
            let last = values.last().map_or("nothing", |value| value);
            return broken(
                format!(
                    "a change was missed: etcd has had {newest} for {PATIENCE:?}, the program has \
                     {last}"
                ),
                look,
            );
        }
        Ok(())
    }
}
