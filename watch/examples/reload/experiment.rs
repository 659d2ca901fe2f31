//! The experiment of the exercise `reload`: a value changes when the program doesn't look. Other
//! keys change all the time, so that no two revisions are equal by chance.
//!
//! There is nothing to fix in this file; edit `yours.rs`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use etcd_client::Client;
use etcd_server::Server;
use exercise::{
    BoxFuture, Etcd, FAULTS_AT_RETURN, Fault, SHOW_LIMIT, Scene, Stages, Symbol, Timeline, Verdict,
    Watcher, blocking, broken, held, say, too_slow,
};
use tokio::time::{sleep, timeout};

/// The function that the experiment tries.
pub type Follow = for<'a> fn(&'a mut Client, &'a str, Box<dyn FnMut(&str)>) -> BoxFuture<'a, ()>;

const KEY: &str = "config";
/// Another key, whose name begins with the name of the first.
const OTHER_KEY: &str = "config.old";

const PUT: Symbol = Symbol('┼', '+', "a new value");
const CONNECTED: Symbol = Symbol('─', '-', "connected");
const RESTART: Symbol = Symbol('▲', '^', "the server restarts");
const LOST: Symbol = Symbol('╳', 'x', "the connection is lost");
const COMPACTED: Symbol = Symbol('▼', 'v', "the history is compacted");
const NEWEST: Symbol = Symbol('█', '#', "has the newest value");
const OLDER: Symbol = Symbol('░', '.', "has an older one");

/// How long the program gets to read a response that has reached it.
const READING_TIME: Duration = Duration::from_millis(50);

pub async fn run(scene: Scene, follow: Follow) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let (address, timeline) = (server.address(), scene.timeline);
    timeline.note("etcd", CONNECTED);
    let newest = Rc::new(Cell::new(1));
    let (etcd, version) = (Etcd::of(&server).await?, Rc::clone(&newest));
    let mut store = Store { etcd, version, before: 1, timeline: timeline.clone() };
    let mut stages = Stages::of(10);
    store.etcd.put(OTHER_KEY, "other").await?;
    store.etcd.put(KEY, "v1").await?;

    let picture = timeline.clone();
    let mut program = Watcher::start(server, |mut client, sent, show| {
        let apply = Box::new(move |value: &str| {
            let version = value.strip_prefix('v').and_then(|version| version.parse().ok());
            picture.note("program", if version == Some(newest.get()) { NEWEST } else { OLDER });
            let value = value.to_owned();
            show(Applied { value, version, by_event: sent.last_is("Watch") });
        });
        async move { follow(&mut client, KEY, apply).await }
    })
    .await?;

    // The value changes while the response to the first request is on its way.
    let response = program.network.response(1).await;
    ensure!(response.is_some(), "follow sent no request to etcd, so there is nothing to judge");
    let two = store.change_twice().await?;
    say!("others put {two} before etcd's first response reaches you")?;
    drop(response);
    program.network.open();
    store.arrives(&mut program).await;
    // How many events etcd has sent. Nobody else watches anything here.
    let events = |line: &str| line.starts_with("etcd_debugging_mvcc_events_total ");
    let hint = match blocking(move || etcd_server::metric(address, events)).await? {
        0 => "what happens between your get and the beginning of your watch",
        _ => "what your code does with each event that etcd sends",
    };
    store.judge(&mut program, hint).await?;
    stages.pass()?;
    store.check_live(&mut program).await?;
    program.sent.check_silent(&program.link).await?;
    stages.pass()?;

    timeline.mark("etcd", RESTART);
    program = program.restart(&mut store.etcd).await?;
    let two = store.change_twice().await?;
    say!("the server restarts, others put {two}, and your next request is lost")?;
    program.network.lose(1).await?;
    let hint = "what happens between the end of your stream and your next watch";
    store.check(&mut program, hint).await?;
    stages.pass()?;

    // The second loss falls between `created` and the first event of the past. etcd sends that
    // event up to 0.1 s later, so a single attempt might come too late.
    for _ in 0..3 {
        program.disconnect();
        timeline.mark("etcd", LOST);
        let two = store.change_twice().await?;
        say!("the connection is lost, others put {two}; it is lost again after created")?;
        let confirmed = timeout(SHOW_LIMIT, program.network.response_to("Watch")).await;
        if confirmed.is_err() {
            store.judge(&mut program, "how long your code waits between two attempts").await?;
        }
        program.link.pause_responses();
        drop(confirmed);
        sleep(READING_TIME).await;
        program.link.disconnect();
        program.network.open();
        store.check(&mut program, "when your code may go on from a later revision").await?;
        stages.pass()?;
    }

    for fault in FAULTS_AT_RETURN {
        store.change().await?;
        let one = store.newest();
        // An event tells the program where to go on, unlike the response to a get.
        store.arrives(&mut program).await;
        program.disconnect();
        timeline.mark("etcd", LOST);
        let two = store.change_twice().await?;
        store.compact().await?;
        timeline.mark("etcd", COMPACTED);
        say!("others put {one}, the connection is lost, others put {two}, and compact")?;
        let change = async || {
            store.change_at_once().await?;
            let put = format!("others put {}", store.newest());
            // Once, the revision after the get is gone before the watch begins.
            if fault != Some((Fault::Overtaken, 1)) {
                return Ok(put);
            }
            store.compact().await?;
            timeline.mark("etcd", COMPACTED);
            Ok(format!("{put} and compact"))
        };
        program.come_back(fault, change).await?;
        let hint = "what etcd tells you on a stream, apart from events, and what you do then";
        store.check(&mut program, hint).await?;
        stages.pass()?;
    }
    // A program that has found no revision to watch from asks again and again.
    program.sent.check_quiet().await?;
    store.check_live(&mut program).await?;
    held("the newest value was applied each time, and nothing twice")
}

/// The value in etcd: v1, v2 and so on.
struct Store {
    etcd: Etcd,
    version: Rc<Cell<usize>>,
    /// The version before the last change, or before the last two if they came together.
    before: usize,
    timeline: Timeline,
}

/// What the program has applied.
#[derive(Clone)]
struct Applied {
    value: String,
    /// 2 for v2; `None` for a value of another key.
    version: Option<usize>,
    /// Whether the value came on a watch, because the program's last request was for a watch.
    by_event: bool,
}

impl Store {
    fn newest(&self) -> String {
        format!("v{}", self.version.get())
    }

    /// Puts the next value. Before and after that, another key changes.
    async fn change(&mut self) -> Result<()> {
        self.etcd.put(OTHER_KEY, "other").await?;
        self.change_at_once().await
    }

    /// Puts the next value at once, as the store's next revision. Only then another key changes.
    async fn change_at_once(&mut self) -> Result<()> {
        self.before = self.version.replace(self.version.get() + 1);
        self.timeline.mark("etcd", PUT);
        self.timeline.note("program", OLDER);
        self.etcd.put(KEY, &self.newest()).await?;
        self.etcd.put(OTHER_KEY, "other").await?;
        Ok(())
    }

    /// Puts the next two values. Returns them as the experiment prints them.
    async fn change_twice(&mut self) -> Result<String> {
        self.change().await?;
        let (first, before) = (self.newest(), self.before);
        self.change().await?;
        self.before = before;
        Ok(format!("{first} and {}", self.newest()))
    }

    /// Compacts the history. It then begins with a change of the other key, two revisions after the
    /// newest value.
    async fn compact(&mut self) -> Result<()> {
        self.etcd.put(OTHER_KEY, "other").await?;
        self.etcd.compact().await
    }

    /// Checks that the program sees a change while nothing else happens.
    async fn check_live(&mut self, program: &mut Watcher<Applied>) -> Result<()> {
        self.change().await?;
        say!("others put {}, and nothing else happens", self.newest())?;
        self.check(program, "what your code does with an event").await
    }

    /// Waits until the program has applied the newest value, or is late.
    async fn arrives(&self, program: &mut Watcher<Applied>) {
        program.shows(|applied| applied.version == Some(self.version.get())).await;
    }

    async fn check(&self, program: &mut Watcher<Applied>, hint: &'static str) -> Result<()> {
        self.arrives(program).await;
        self.judge(program, hint).await
    }

    /// Returns *broken* if the program hasn't applied the newest value, or has applied a value that
    /// isn't newer than the one before.
    async fn judge(&self, program: &mut Watcher<Applied>, hint: &'static str) -> Result<()> {
        let values = program.shown().await;
        check_order(&values)?;
        program.check_running().await?;
        let last = values.last().and_then(|last| last.version);
        if last == Some(self.version.get()) {
            return Ok(());
        }
        let has = last.map_or("nothing".to_owned(), |version| format!("v{version}"));
        let newest = self.newest();
        too_slow(
            format!("etcd has had {newest} for {SHOW_LIMIT:?}, but the program still has {has}"),
            match last > Some(self.before) {
                true => "how many events a response can have, and which ones your code leaves out",
                false => hint,
            },
        )
    }
}

fn check_order(values: &[Applied]) -> Result<()> {
    let mut newest = None;
    for Applied { value, version, by_event } in values {
        if version.is_none() {
            let what = format!("follow applied {value:?}, which is the value of another key");
            return broken(what, "which keys your requests are about");
        }
        let hint = "the revision from which your code goes on";
        if *version < newest {
            let newer = newest.unwrap_or_default();
            return broken(format!("after v{newer}, follow applied the older {value}"), hint);
        }
        // A get may return a value that is known already.
        if *version == newest && *by_event {
            return broken(format!("{value} was put once, but follow applied it twice"), hint);
        }
        newest = *version;
    }
    Ok(())
}
