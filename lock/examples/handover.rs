//! Measures how fast a lock passes from one contender to the next, with our mutex and with etcd's
//! Lock RPC, which does the same as Go's `concurrency.Mutex`.
//!
//! ```text
//! cargo run --release -p lock --example handover
//! ETCD=/path/to/another/etcd cargo run --release -p lock --example handover
//! ```

use std::fmt;
use std::io::{Write, stdout};
use std::sync::{Arc, Mutex as Shared, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use common::{NO_LIMIT, REQUEST_TIMEOUT, no_argument, within};
use etcd_client::{Client, LockOptions};
use etcd_server::Server;
use lock::{Guard, Mutex, Session};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The number of contenders, and for how many milliseconds each of them keeps the lock.
const SETTINGS: [(usize, u64); 5] = [(2, 0), (8, 0), (32, 0), (2, 5), (2, 20)];

/// For how many milliseconds a contender keeps the lock while another contender starts to wait.
const HOLDS: [u64; 2] = [5, 20];

/// The two locks take turns, so that other work on the machine disturbs both.
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_millis(2500);

const NAME: &str = "handover";
const TTL: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    no_argument(include_str!("handover.rs"));
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let version = within(REQUEST_TIMEOUT, client.status()).await?.version().to_owned();
    let cores = available_parallelism()?;
    writeln!(stdout(), "etcd {version}, one member, and all contenders on {cores} cores;")?;
    writeln!(stdout(), "{ROUNDS} rounds of {ROUND:?} for each lock, in turn.\n")?;
    writeln!(
        stdout(),
        "                  acquired     hand-over, ms     fairness       for each acquisition"
    )?;
    writeln!(
        stdout(),
        "                per second    p50    mean     p99            requests  events  revisions"
    )?;
    for (contenders, hold) in SETTINGS {
        let (rpc, ours) = (Score::default(), Score::default());
        for _ in 0..ROUNDS {
            compete(&etcd, Kind::Rpc, contenders, hold, &rpc).await?;
            compete(&etcd, Kind::Ours, contenders, hold, &ours).await?;
        }
        let (rpc, ours) = (rpc.open(), ours.open());
        writeln!(stdout(), "{contenders} contenders, each keeps it {hold} ms")?;
        writeln!(stdout(), "  Lock RPC      {rpc}\n  lock::Mutex   {ours}")?;
        let rate = ours.rate() / rpc.rate();
        let [p50, mean, p99] =
            [0, 1, 2].map(|index| rpc.handover()[index] / ours.handover()[index]);
        writeln!(stdout(), "  ratio         {rate:>9.1}x {p50:>6.1}x {mean:>6.1}x {p99:>6.1}x")?;
    }
    writeln!(stdout(), "\nOut of step: one has the lock, another asks for it, then both pause.\n")?;
    writeln!(stdout(), "                hand-overs     hand-over, ms")?;
    writeln!(stdout(), "                               p50    mean     p99")?;
    for hold in HOLDS {
        let (rpc, ours) = (Score::default(), Score::default());
        for _ in 0..ROUNDS {
            measure_out_of_step(&etcd, Kind::Rpc, hold, &rpc).await?;
            measure_out_of_step(&etcd, Kind::Ours, hold, &ours).await?;
        }
        writeln!(stdout(), "one keeps it {hold} ms")?;
        let mut times = Vec::new();
        for (name, score) in [("Lock RPC   ", rpc), ("lock::Mutex", ours)] {
            let score = score.open();
            let [p50, mean, p99] = score.handover();
            let count = score.handovers.len();
            writeln!(stdout(), "  {name} {count:>10}      {p50:>6.2}  {mean:>6.2}  {p99:>6.2}")?;
            times.push([p50, mean, p99]);
        }
        let [p50, mean, p99] = [0, 1, 2].map(|index| times[0][index] / times[1][index]);
        writeln!(stdout(), "  ratio                      {p50:>6.1}x {mean:>6.1}x {p99:>6.1}x")?;
    }
    Ok(())
}

/// Measures one round with two contenders that take turns to begin. They pause between two locks.
/// Contenders that ask again at once fall in step with the 100 ms of etcd, and then every second
/// wait of the RPC is a short one.
async fn measure_out_of_step(etcd: &Server, kind: Kind, hold: u64, score: &Score) -> Result<()> {
    let sleep_up_to = |limit| sleep(Duration::from_micros(fastrand::u64(..limit * 1000)));
    let mut contenders = Vec::new();
    for _ in 0..2 {
        let client = connect(etcd).await?;
        let session = Session::open(&client, TTL).await?;
        contenders.push((Lock { kind, mutex: Mutex::new(&session, NAME), client }, session));
    }
    let end = Instant::now() + ROUND;
    while Instant::now() < end {
        sleep_up_to(100).await; // etcd serves the RPC's watches every 100 ms
        let [(first, session), (second, other)] = &contenders[..] else { break };
        let acquired = first.lock(session.lease()).await?;
        let ask = async {
            sleep_up_to(hold - 2).await; // the unlock comes at least 2 ms later
            let acquired = second.lock(other.lease()).await?;
            anyhow::Ok((Instant::now(), acquired))
        };
        let release = async {
            sleep(Duration::from_millis(hold)).await;
            let begin = Instant::now();
            first.unlock(acquired).await.map(|()| begin)
        };
        let ((got, acquired), begin) = tokio::try_join!(ask, release)?;
        score.open().handovers.push(got - begin);
        second.unlock(acquired).await?;
        contenders.reverse();
    }
    score.open().handovers.sort();
    for (_, session) in contenders {
        session.close().await?;
    }
    Ok(())
}

/// Measures one round. Each contender has a client and a session of its own.
async fn compete(
    etcd: &Server,
    kind: Kind,
    contenders: usize,
    hold: u64,
    score: &Score,
) -> Result<()> {
    let start = Arc::new(Barrier::new(contenders + 1));
    let mut tasks = JoinSet::new();
    for number in 0..contenders {
        let client = connect(etcd).await?;
        let (start, score) = (start.clone(), score.clone());
        tasks.spawn(async move {
            let session = Session::open(&client, TTL).await?;
            let lock = Lock { kind, mutex: Mutex::new(&session, NAME), client };
            start.wait().await;
            let end = Instant::now() + ROUND;
            while Instant::now() < end {
                let acquired = lock.lock(session.lease()).await?;
                score.open().acquired(number)?;
                if hold > 0 {
                    sleep(Duration::from_millis(hold)).await;
                }
                score.open().releasing(number);
                lock.unlock(acquired).await?;
            }
            session.close().await
        });
    }
    let before = Counters::read(etcd)?;
    start.wait().await;
    let begin = Instant::now();
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let mut score = score.open();
    score.time += begin.elapsed();
    score.counters.add(&before, &Counters::read(etcd)?);
    score.handovers.sort();
    score.released = None;
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Rpc,
    Ours,
}

struct Lock {
    kind: Kind,
    mutex: Mutex,
    client: Client,
}

enum Acquired {
    Rpc(Vec<u8>),
    Ours(Guard),
}

impl Lock {
    async fn lock(&self, lease: i64) -> Result<Acquired> {
        Ok(match self.kind {
            Kind::Ours => Acquired::Ours(self.mutex.lock().await?),
            Kind::Rpc => {
                let mut client = self.client.lock_client();
                let lock = client.lock(NAME, Some(LockOptions::new().with_lease(lease)));
                Acquired::Rpc(within(NO_LIMIT, lock).await?.key().to_owned())
            }
        })
    }

    async fn unlock(&self, acquired: Acquired) -> Result<()> {
        match acquired {
            Acquired::Ours(guard) => ensure!(guard.unlock().await?, "the lock was lost"),
            Acquired::Rpc(key) => {
                within(REQUEST_TIMEOUT, self.client.lock_client().unlock(key)).await?;
            }
        }
        Ok(())
    }
}

/// The measurements of all contenders.
#[derive(Clone, Default)]
struct Score(Arc<Shared<Entries>>);

impl Score {
    fn open(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Entries {
    holder: Option<usize>,
    /// The contender that unlocked last, and when it began to unlock.
    released: Option<(usize, Instant)>,
    /// How often each contender got the lock.
    turns: Vec<u32>,
    /// The times from just before an unlock until another contender has the lock.
    handovers: Vec<Duration>, // sorted after each round
    time: Duration,
    counters: Counters,
}

impl Entries {
    fn acquired(&mut self, number: usize) -> Result<()> {
        ensure!(self.holder.is_none(), "two contenders hold the lock");
        self.holder = Some(number);
        if let Some((before, at)) = self.released
            && before != number
        {
            self.handovers.push(at.elapsed());
        }
        self.turns.resize(self.turns.len().max(number + 1), 0);
        self.turns[number] += 1;
        Ok(())
    }

    fn releasing(&mut self, number: usize) {
        self.holder = None;
        self.released = Some((number, Instant::now()));
    }

    fn total(&self) -> f64 {
        self.turns.iter().sum::<u32>().into()
    }

    /// Returns the acquisitions per second.
    fn rate(&self) -> f64 {
        self.total() / self.time.as_secs_f64()
    }

    /// Returns the median, the mean and the 99th percentile of the hand-overs, in milliseconds. The
    /// median says little if only some contenders have to wait for the 100 ms of etcd.
    fn handover(&self) -> [f64; 3] {
        let count = self.handovers.len();
        let at = |percent| self.handovers.get(count * percent / 100).copied().unwrap_or_default();
        let mean = self.handovers.iter().sum::<Duration>().div_f64(count.max(1) as f64);
        [at(50), mean, at(99)].map(|time| time.as_secs_f64() * 1e3)
    }

    /// Returns the smallest number of turns divided by the largest: 1 is fair.
    fn fairness(&self) -> f64 {
        let (least, most) = (self.turns.iter().min(), self.turns.iter().max());
        least.zip(most).map_or(f64::NAN, |(&least, &most)| f64::from(least) / f64::from(most))
    }
}

impl fmt::Display for Entries {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [p50, mean, p99] = self.handover();
        let [requests, events, revisions] = self.counters.0.map(|count| count / self.total());
        write!(f, "{:>10.0} {p50:>6.2}  {mean:>6.2}  {p99:>6.2}", self.rate())?;
        write!(f, " {:>9.2}", self.fairness())?;
        write!(f, " {requests:>11.1} {events:>7.1} {revisions:>10.2}")
    }
}

/// Three counters of etcd: messages from clients, messages to watchers, and revisions.
#[derive(Default)]
struct Counters([f64; 3]);

impl Counters {
    fn read(etcd: &Server) -> Result<Counters> {
        let sum = |counter: &str, label: &str| -> Result<f64> {
            let counts = |line: &str| line.starts_with(counter) && line.contains(label);
            Ok(etcd_server::metric(etcd.address(), counts)? as f64)
        };
        Ok(Counters([
            sum("grpc_server_msg_received_total{", "")?,
            sum("grpc_server_msg_sent_total{", "\"Watch\"")?,
            sum("etcd_debugging_mvcc_current_revision ", "")?,
        ]))
    }

    fn add(&mut self, before: &Counters, after: &Counters) {
        for (index, sum) in self.0.iter_mut().enumerate() {
            *sum += after.0[index] - before.0[index];
        }
    }
}

async fn connect(etcd: &Server) -> Result<Client> {
    Ok(Client::connect([etcd.address().to_string()], None).await?)
}
