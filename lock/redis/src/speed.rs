//! How fast one client locks and unlocks.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::contender::{Contender, Kind, Setting};
use crate::server::ON_DISK;
use crate::{percentiles, sentence};

/// The settings take turns, so that other work on the machine disturbs all of them.
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_millis(400);

pub async fn show() -> Result<()> {
    sentence("redis: fast, because it works in memory")?;
    let each_second = "appendonly yes\nappendfsync everysec";
    let settings = [
        Setting::redis("redis, nothing on disk", Kind::AtRandom, 1, "").await?,
        Setting::redis("redis, appendfsync everysec", Kind::AtRandom, 1, each_second).await?,
        Setting::redis("redis, appendfsync always", Kind::AtRandom, 1, ON_DISK).await?,
        Setting::redis("redis, a replica confirms", Kind::Replica, 1, "").await?,
        Setting::redis("Redlock, nothing on disk", Kind::Redlock, 5, "").await?,
        Setting::redis("Redlock, appendfsync always", Kind::Redlock, 5, ON_DISK).await?,
        Setting::etcd("etcd, one member", 1).await?,
        Setting::etcd("etcd, three members", 3).await?,
    ];
    let mut times = settings.each_ref().map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (setting, times) in settings.iter().zip(&mut times) {
            let mut contender = Contender::new(setting, 0).await?;
            let end = Instant::now() + ROUND;
            while Instant::now() < end {
                let begin = Instant::now();
                contender.lock().await?;
                contender.unlock().await?;
                times.push(begin.elapsed());
            }
            contender.leave().await?;
        }
    }
    say!("  one client locks and unlocks   per second   p50, ms   p99, ms")?;
    for (setting, times) in settings.iter().zip(&mut times) {
        let rate = times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64();
        let [p50, p99] = percentiles(times);
        say!("  {:<28}   {rate:>10.0}   {p50:>7.2}   {p99:>7.2}", setting.name)?;
    }
    let [memory, .., etcd, _] = times.each_mut().map(|times| percentiles(times)[0]);
    ensure!(memory < etcd, "unexpected: redis is slower than etcd");
    say!("true")
}
