//! Shows live how far the students of a class have got, until Ctrl-C.
//!
//! ```text
//! cargo board                       shows all exercises
//! cargo board counter               shows one exercise
//! cargo board --csv                 prints the results as CSV, with times
//! cargo board remove NAME [CLONE]   removes a row, for example one with a mistyped name
//! ```
//!
//! The board is below `class/` in the etcd that `ETCDCTL_ENDPOINTS` names. `cargo class` starts
//! one, and its screen shows the line to type.

use anyhow::Result;
use common::{cannot_use, words};
use exercise::Exercise;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words = words(include_str!("board.rs"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => class::show("", None).await,
        // People also type `cargo board -- --csv`, though the alias has the `--` already.
        ["csv" | "--csv"] | ["--", "--csv"] => class::csv().await,
        ["remove", name] => class::remove(name, None).await,
        ["remove", name, clone] => class::remove(name, Some(clone)).await,
        [name] if Exercise::find(name).is_some() => class::show("", Exercise::find(name)).await,
        _ => cannot_use(&words.join(" "), "cargo board [EXERCISE | --csv | remove NAME [CLONE]]"),
    }
}
