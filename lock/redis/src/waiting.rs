//! How a lock passes on among eight contenders.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::client::NIL;
use crate::contender::{Contender, Kind, Setting};
use crate::server::Redis;
use crate::{percentiles, sentence};

const CONTENDERS: usize = 8;

/// How long each contender keeps the lock, and how long it pauses after that. Without the pause it
/// would take the lock again before anybody else could ask.
const HOLD: Duration = Duration::from_millis(5);
const PAUSE: Duration = Duration::from_millis(5);

const CONTEST: Duration = Duration::from_millis(2500);

pub async fn show() -> Result<()> {
    sentence("(not in the tutorial) redis: clients that wait for a lock get it in turn")?;
    say!(
        "  eight clients, each keeps it 5 ms     locks  hand-over, ms  longest  fairness  requests",
    )?;
    say!(
        "                                   per second   p50     p99  wait, ms            per lock",
    )?;
    for setting in [
        Setting::redis("redis, asked every 10 ms", Kind::Often, 1, "").await?,
        Setting::redis("redis, asked after 0 to 200 ms", Kind::AtRandom, 1, "").await?,
        Setting::redis("redis, with PUBLISH", Kind::Subscribed, 1, "").await?,
        Setting::redis("redis, a token in a list", Kind::Token, 1, "").await?,
        Setting::redis("Redlock, asked after 0 to 200 ms", Kind::Redlock, 5, "").await?,
        Setting::etcd("etcd, our queue", 1).await?,
    ] {
        let score = contest(&setting).await?;
        say!("  {:<32} {}", setting.name, score.line())?;
        let in_turn = setting.kind != Kind::Token || score.fairness() > 0.7;
        ensure!(in_turn, "unexpected: the list is not fair");
    }
    let redis = Redis::start("").await?;
    let (mut a, mut b) = (redis.client("a").await?, redis.client("b").await?);
    a.expect_reply("RPUSH queue token", "(integer) 1").await?;
    a.expect_reply("BLPOP queue 1", "1) \"queue\" 2) \"token\"").await?;
    drop(a);
    say!("  a is gone")?;
    b.expect_reply("BLPOP queue 1", NIL).await?;
    say!("only from a list, and a holder that dies takes its token with it")
}

/// Lets the contenders compete. Each has a thread of its own, so that this program has no say in
/// who asks first.
async fn contest(setting: &Setting) -> Result<Score> {
    let before = setting.requests().await?;
    let score = Mutex::new(Score::default());
    thread::scope(|scope| {
        let start = |number| {
            let score = &score;
            scope.spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(compete(setting, number, score))
            })
        };
        let contenders: Vec<_> = (0..CONTENDERS).map(start).collect();
        contenders
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a panic"))))
    })?;
    let mut score = score.into_inner().unwrap_or_else(PoisonError::into_inner);
    score.requests = (setting.requests().await? - before) as f64;
    Ok(score)
}

async fn compete(setting: &Setting, number: usize, score: &Mutex<Score>) -> Result<()> {
    let mut contender = Contender::new(setting, number).await?;
    let end = Instant::now() + CONTEST;
    while Instant::now() < end {
        let begin = Instant::now();
        contender.lock().await?;
        open(score).acquired(number, begin)?;
        sleep(HOLD).await;
        open(score).releasing(number);
        contender.unlock().await?;
        sleep(PAUSE).await;
    }
    contender.leave().await
}

fn open(score: &Mutex<Score>) -> MutexGuard<'_, Score> {
    score.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The measurements of all contenders.
#[derive(Default)]
struct Score {
    holder: Option<usize>,
    /// The contender that unlocked last, and when it began to unlock.
    released: Option<(usize, Instant)>,
    /// How often each contender got the lock.
    turns: [u32; CONTENDERS],
    /// The times from just before an unlock until another contender has the lock.
    handovers: Vec<Duration>,
    longest: Duration,
    requests: f64,
}

impl Score {
    fn acquired(&mut self, number: usize, asked: Instant) -> Result<()> {
        ensure!(self.holder.is_none(), "unexpected: two contenders hold the lock");
        self.holder = Some(number);
        if let Some((before, at)) = self.released
            && before != number
        {
            self.handovers.push(at.elapsed());
        }
        self.turns[number] += 1;
        self.longest = self.longest.max(asked.elapsed());
        Ok(())
    }

    fn releasing(&mut self, number: usize) {
        self.holder = None;
        self.released = Some((number, Instant::now()));
    }

    /// Returns the smallest number of turns divided by the largest: 1 is fair.
    fn fairness(&self) -> f64 {
        let (least, most) = (self.turns.iter().min(), self.turns.iter().max());
        least.zip(most).map_or(0.0, |(&a, &b)| f64::from(a) / f64::from(b))
    }

    fn line(&self) -> String {
        let total = f64::from(self.turns.iter().sum::<u32>());
        let rate = total / CONTEST.as_secs_f64();
        let [p50, p99] = percentiles(&mut self.handovers.clone());
        let longest = self.longest.as_millis();
        let fairness = self.fairness();
        let each = self.requests / total;
        format!("{rate:>12.0}  {p50:>4.1}  {p99:>6.1}  {longest:>8}  {fairness:>8.2}  {each:>8.1}")
    }
}
