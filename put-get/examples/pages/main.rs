//! The experiment of the exercise `pages`: parcels are moved while they are listed.
//!
//! Repair `yours.rs`, not this file.

mod mistake;
mod solution;
mod wrong_last;
mod wrong_newest;
mod wrong_whole;
mod yours;

use std::collections::HashMap;
use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions, Txn, TxnOp};
use exercise::{Exercise, Scene, Verdict, broken, gave_up, held};

// Every answer has this function. A call names the answer first: `read(answer, client, ..)`.
exercise::answers! {
    const ANSWERS = [yours, solution, mistake, wrong_last, wrong_newest, wrong_whole];
    async fn read(client: &mut Client, shelves: &str, limit: i64) -> Result<Vec<String>>;
}

const EXERCISE: Exercise = Exercise {
    name: "pages",
    answers: ANSWERS,
    hint: "etcd keeps earlier revisions, and a get can read one of them (see the methods of GetOptions). \
           At which revision was your first page read? The header of its response has the number.",
};

const PARCELS: usize = 100;
const LIMIT: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exercise::run(EXERCISE, experiment).await
}

async fn experiment(scene: Scene) -> Result<Verdict> {
    let mut client = scene.connect().await?;
    let shelves = &*scene.key("shelves/");
    let shelf = |number: usize| format!("{shelves}{number:03}");

    // Parcel 0 on shelf 0, parcel 1 on shelf 2 and so on: there is room between them,
    // and behind the last one.
    let parcels: Vec<String> = (0..PARCELS).map(|number| format!("parcel {number}")).collect();
    let put = |(number, parcel): (usize, &String)| TxnOp::put(shelf(2 * number), &**parcel, None);
    let puts = Txn::new().and_then(parcels.iter().enumerate().map(put).collect::<Vec<_>>());
    within(REQUEST_TIMEOUT, client.txn(puts)).await.context("txn failed")?;
    writeln!(stdout(), "{PARCELS} parcels lie on shelves, {LIMIT} are to be read at a time")?;

    let (mut reader, mut wire) = scene.connect_by_wire().await?;
    let mut responses = 0;
    // What lay on the shelves at each moment.
    let mut states = vec![parcels.clone()];
    let move_parcels = async {
        // Each page is on its way while this happens, except for the last one.
        while let Some(_response) = wire.response(1).await {
            responses += 1;
            if responses < PARCELS / LIMIT {
                let (first, last) = (responses - 1, PARCELS - responses);
                let front = shelf(2 * responses - 1);
                let back = shelf(2 * PARCELS + responses);
                let moves = Txn::new().and_then([
                    TxnOp::delete(shelf(2 * first), None),
                    TxnOp::put(back, &*parcels[first], None),
                    TxnOp::delete(shelf(2 * last), None),
                    TxnOp::put(front, &*parcels[last], None),
                ]);
                within(REQUEST_TIMEOUT, client.txn(moves)).await.context("txn failed")?;
                states.push(list(&mut client, shelves).await?);
            }
        }
        anyhow::Ok(())
    };
    // The client is dropped with the task. Then the wire returns `None`.
    let reading = async move { read(scene.answer, &mut reader, shelves, LIMIT as i64).await };
    let (seen, moved) = tokio::join!(reading, move_parcels);
    moved?;
    let seen = seen.or_else(gave_up)?;
    ensure!(responses > 0, "read has asked etcd for nothing, so nothing was tried");
    writeln!(
        stdout(),
        "after each page one is moved from the front to the back, and one to the front"
    )?;

    if responses < PARCELS / LIMIT {
        return broken(
            format!("{PARCELS} parcels take {} responses, etcd gave {responses}", PARCELS / LIMIT),
            "the limit of your request",
        );
    }
    let mut times: HashMap<&str, usize> = HashMap::new();
    for parcel in &seen {
        *times.entry(parcel).or_default() += 1;
    }
    let missing = parcels.iter().filter(|parcel| !times.contains_key(&***parcel)).count();
    let twice = times.values().filter(|times| **times > 1).count();
    if missing + twice > 0 {
        let look = match missing {
            0 => "the key with which each page begins",
            _ => "the moment at which each page is read",
        };
        return broken(
            format!(
                "{PARCELS} parcels were there at every moment, {missing} of them are missing in \
                 the list and {twice} are in it more than once"
            ),
            look,
        );
    }
    if !states.contains(&seen) {
        return broken("the parcels never lay in this order", "the order of the shelves");
    }
    held(format!("all {PARCELS} parcels, each once, as they lay at one moment"))
}

/// Returns all parcels, from one response.
async fn list(client: &mut Client, shelves: &str) -> Result<Vec<String>> {
    let all = GetOptions::new().with_prefix();
    let found =
        within(REQUEST_TIMEOUT, client.get(shelves, Some(all))).await.context("get failed")?;
    found.kvs().iter().map(|kv| Ok(kv.value_str()?.to_owned())).collect()
}
