//! Tries the sentences of the Go tutorial about locks on redis and on etcd, with a real redis and a
//! real etcd. The lab starts its own servers. It needs `redis-server` or `valkey-server` on the
//! PATH, or its path in REDIS.
//!
//! ```text
//! cargo run -p redis-lab
//! cargo run -p redis-lab -- PART
//! cargo run --release -p redis-lab -- FIGURES
//! ```
//!
//! PART is deadlock, expiry, sentinel, member, redlock or scale; without it, the lab tries all six.
//! FIGURES is speed, waiting or rates.

macro_rules! say {
    ($($line:tt)*) => {
        crate::print(format_args!($($line)*))
    };
}

mod client;
mod contender;
mod deadlock;
mod expiry;
mod holder;
mod member;
mod rates;
mod redlock;
mod scale;
mod sentinel;
mod server;
mod speed;
mod waiting;

use std::fmt::Arguments;
use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Result, bail};
use common::argument;

/// How often to check whether something has happened.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    if holder::hold().await? {
        return Ok(());
    }
    let part = argument("PART | FIGURES", include_str!("main.rs"));
    eprintln!("{}", server::version()?);
    if let Some(part) = part {
        return show(&String::from_utf8(part)?).await;
    }
    for part in ["deadlock", "expiry", "sentinel", "member", "redlock", "scale"] {
        show(part).await?;
    }
    Ok(())
}

async fn show(part: &str) -> Result<()> {
    match part {
        "deadlock" => deadlock::show().await,
        "expiry" => expiry::show().await,
        "sentinel" => sentinel::show().await,
        "member" => member::show().await,
        "redlock" => redlock::show().await,
        "scale" => scale::show().await,
        "speed" => speed::show().await,
        "waiting" => waiting::show().await,
        "rates" => rates::show().await,
        _ => bail!("cannot run {part:?}: there is no such part; see --help"),
    }
}

/// Prints a sentence that a part tries.
fn sentence(text: &str) -> Result<()> {
    say!("\n\"{text}\"")
}

/// Prints a line. Unlike `println!`, returns an error if the output is closed.
fn print(line: Arguments) -> Result<()> {
    Ok(writeln!(stdout(), "{line}")?)
}

/// Returns a time as the lab prints it.
fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Returns the median and the 99th percentile, in milliseconds.
fn percentiles(times: &mut [Duration]) -> [f64; 2] {
    times.sort();
    let at = |percent| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    [at(50), at(99)].map(|time| time.as_secs_f64() * 1e3)
}
