//! Shows live how far the students of a class have got, until Ctrl-C.
//!
//! ```text
//! cargo board
//! ```
//!
//! It shows what is below `class/` in the etcd that `ETCDCTL_ENDPOINTS` names. `cargo class` starts
//! one, and its screen shows the line to type.

use anyhow::Result;
use common::no_argument;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    no_argument(include_str!("board.rs"));
    class::show("", None).await
}
