use anyhow::{Context, Result, ensure};
use etcd_client::{Client, GetOptions, GetResponse, KeyValue, WatchOptions};
use etcd_server::Server;
use testing::{Program, answers_at};

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow(include_str!("../put-get/README.md"), include_str!("../put-get/src/main.rs"))
}

#[tokio::test]
async fn exercises_touch_no_keys_but_their_own() -> Result<()> {
    let server = Server::start()?;
    let mut client = Client::connect([server.address().to_string()], None).await?;
    for key in ["class/counter", "class/counter/", "class0", "exercise/counter", "other"] {
        client.put(key, "0", None).await?;
    }
    let before = client.get("", Some(GetOptions::new().with_all_keys())).await?;

    let revision = |response: &GetResponse| response.header().map_or(0, |now| now.revision());
    let mut last = revision(&before);
    for (prefix, answer, code) in
        [("class", "mistake", 1), ("class/", "solution", 0), ("", "wrong_once", 1)]
    {
        let mut exercise = answers_at(&server, "counter")?;
        exercise.arg(answer).env("EXERCISE_PREFIX", prefix);
        let (lines, status) = Program::start(exercise)?.end()?;
        ensure!(status.code() == Some(code), "{answer}: {status}: {lines:#?}");

        // All that it has changed is its own, and at the end nothing of that is left.
        let after = client.get("", Some(GetOptions::new().with_all_keys())).await?;
        let kept = |kv: &KeyValue| (kv.key().to_vec(), kv.mod_revision());
        ensure!(before.kvs().iter().map(kept).eq(after.kvs().iter().map(kept)), "{after:?}");
        ensure!(revision(&after) > last, "{answer} has changed nothing");
        let own = if prefix.is_empty() { "exercise/counter/" } else { "class/counter/" };
        let from = WatchOptions::new().with_all_keys().with_start_revision(last + 1);
        let mut changes = client.watch("", Some(from)).await?;
        while last < revision(&after) {
            for event in changes.message().await?.context("the watch has ended")?.events() {
                let kv = event.kv().context("no key")?;
                ensure!(kv.key_str()?.starts_with(own), "{answer}: {kv:?}");
                last = kv.mod_revision();
            }
        }
    }
    Ok(())
}
